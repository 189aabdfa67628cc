#!/usr/bin/env python3
"""Everything that other programs must agree with us about.

    .venv/bin/python bench/peers/conformance.py --model SmolLM2-135M-Instruct.Q4_1.gguf --text Isaac.Newton-Opticks.txt \
        --paretopress bin/paretopress --llama .venv-llama/bin/python --work /tmp/conformance

The folder --work gets llama.cpp's presets of the model, unless they are there, and the files that tests of package export
write for the checks. A check is a script beside this one, check_NAME.py, whose usage says what it holds; it exits with 0 where
all is well. The last line counts the checks, and the exit code is 1 unless all passed.
"""

import argparse
import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def script(name):
    return os.path.join(HERE, name + ".py")


def written(go, work, variable, tests):
    """The files that tests of package export write into a new folder, which an environment variable names to them."""
    folder = os.path.abspath(os.path.join(work, variable.lower()))
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    subprocess.run([go, "test", "./export", "-count=1", "-run", tests], cwd=ROOT, env=dict(os.environ, **{variable: folder}), check=True)
    return folder


def commands(args, name):
    """The commands of a check."""
    presets = sorted(glob.glob(os.path.join(args.work, "presets", "*.gguf")))
    run = lambda *flags, python=sys.executable: [python, script(name), *flags]
    match name:
        case "check_decode":
            return [run("--go", args.go, "--files", args.model, *presets)]
        case "check_nll":
            return [run("--files", args.model, *presets, "--text", args.text, "--paretopress", args.paretopress, "--llama", args.llama)]
        case "check_deci":
            return [run("--model", os.path.join(args.work, "presets", "f32.gguf"), "--text", args.text, "--paretopress", args.paretopress, "--source", args.model, python=args.llama)]
        case "check_gguf":
            files = sorted(glob.glob(os.path.join(written(args.go, args.work, "PARETOPRESS_GGUF_OUT", "TestMixtures|TestDrops|TestWidths$"), "*.gguf")))
            return [run("--llama", *files, python=args.llama)]
        case "check_hf" | "check_compressed_tensors":
            return [run(written(args.go, args.work, "PARETOPRESS_HF_OUT", "TestWriteForPeers"))]
        case "check_tokenizer":  # the test runs the script
            return [["env", f"PARETOPRESS_PYTHON={sys.executable}", args.go, "test", "./engine", "-count=1", "-run", "TestPeersTokenizer"]]
        case "check_hub":
            return [run("--paretopress", args.paretopress)]
    raise SystemExit(f"{name}: conformance.py does not know how to run it")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--text", required=True)
    parser.add_argument("--paretopress", required=True, help="the binary")
    parser.add_argument("--llama", required=True, help="Python with llama-cpp-python")
    parser.add_argument("--work", required=True, help="folder for the files that are made")
    parser.add_argument("--go", default="go")
    parser.add_argument("--only", nargs="+", help="names of checks, such as check_nll")
    args = parser.parse_args()
    for name in ("model", "text", "paretopress", "llama", "work"):
        if os.sep in getattr(args, name):  # checks run in the repository's root
            setattr(args, name, os.path.abspath(getattr(args, name)))
    subprocess.run([args.llama, script("llama_presets"), "--model", args.model, "--out", os.path.join(args.work, "presets")], check=True)

    passed = failed = 0
    for path in sorted(glob.glob(script("check_*"))):
        name = os.path.basename(path).removesuffix(".py")
        if args.only and name not in args.only:
            continue
        print(f"\n== {name}", flush=True)
        try:
            ok = all(subprocess.run(command, cwd=ROOT).returncode == 0 for command in commands(args, name))
        except subprocess.CalledProcessError as e:  # of the test that writes the files
            print(e)
            ok = False
        passed, failed = passed + ok, failed + (not ok)
    print(f"\n{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
