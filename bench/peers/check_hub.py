#!/usr/bin/env python3
"""Checks that paretopress and huggingface_hub share a cache: each finds what the other fetched, and fetches nothing again.

    python bench/peers/check_hub.py --paretopress bin/paretopress

A hub of this script's own, on two ports of this machine, serves the files of the builtin model; nothing else is asked.
"""

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

REPO, COMMIT = "owner/small", "0123456789abcdef0123456789abcdef01234567"


def serve(files, log):
    """Starts the hub and its content server, and returns the hub's URL."""
    content = None

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            path = self.path.split("?")[0]
            log.append(f"{self.command} {path}")
            name = path.rsplit("/", 1)[1]
            if path == f"/api/models/{REPO}/revision/main":
                self.reply(200, json.dumps({"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}).encode())
            elif path.startswith(f"/api/models/{REPO}/tree/"):
                self.reply(200, json.dumps([entry(n, d) for n, d in files.items()]).encode())
            elif name not in files:
                self.reply(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            elif "/resolve/" in path and name.endswith(".safetensors"):
                self.reply(302, b"", {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{sha256(files[name])}"', "X-Linked-Size": str(len(files[name])),
                                      "Location": f"{content}/{name}"})
            else:
                self.reply(200, files[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{git_sha1(files[name])}"'})

        def reply(self, status, body, headers={}):
            self.send_response(status)
            for k, v in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(k, v)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    def start():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    content = start()
    return start()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(name, data):
    e = {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)}
    if name.endswith(".safetensors"):
        e["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return e


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paretopress", required=True)
    parser.add_argument("--model", default=pathlib.Path(__file__).parents[2] / "internal/builtin/model", type=pathlib.Path)
    args = parser.parse_args()
    files = {p.name: p.read_bytes() for p in sorted(args.model.iterdir())} | {"README.md": b"# small\n"}
    log = []
    url = serve(files, log)

    def call(cache, command, **more):
        del log[:]
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | {"HF_ENDPOINT": url, "HF_HUB_CACHE": cache, "HF_HUB_DISABLE_XET": "1", **more}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()

    def ours(cache, ref, **more):
        return json.loads(call(cache, [args.paretopress, "model", "info", ref, "--json"], **more))["digest"]

    def theirs(cache, options):
        code = f"import huggingface_hub as h; print(h.snapshot_download({REPO!r}, {options}))"
        return pathlib.Path(call(cache, [sys.executable, "-c", code]))

    def check(what, ok):
        print(f"{'ok  ' if ok else 'FAIL'}  {what}")
        return ok

    def fetched():
        return [r for r in log if r.startswith("GET") and "/api/" not in r]

    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        want = ours(a, str(args.model))
        good = [check("paretopress fetches", ours(a, f"hf:{REPO}") == want and fetched())]
        path = theirs(a, "local_files_only=True")
        good += [check("huggingface_hub finds it without a request", not log and all((path / n).read_bytes() == d for n, d in files.items() if n != "README.md"))]
        theirs(a, "")
        good += [check("huggingface_hub fetches only what paretopress does not need", fetched() == [f"GET /{REPO}/resolve/{COMMIT}/README.md"])]
        code = f"import huggingface_hub as h; print(h.try_to_load_from_cache({REPO!r}, 'tokenizer.model') is h._CACHED_NO_EXIST)"
        good += [check("huggingface_hub knows what the repository lacks", call(a, [sys.executable, "-c", code]) == "True")]

        theirs(b, "")
        good += [check("huggingface_hub fetches", len(fetched()) > 0)]
        good += [check("paretopress finds it without a request", ours(b, f"hf:{REPO}", HF_HUB_OFFLINE="1") == want and not log)]
        good += [check("paretopress fetches nothing again", ours(b, f"hf:{REPO}") == want and not fetched())]
        good += [check("paretopress finds the commit", ours(b, f"hf:{REPO}@{COMMIT}") == want and not log)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
