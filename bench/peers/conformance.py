#!/usr/bin/env python3
"""Everything that other programs must agree with us about.

    .venv/bin/python bench/peers/conformance.py --model SmolLM2-135M-Instruct.Q4_1.gguf --text Isaac.Newton-Opticks.txt \
        --paretopress bin/paretopress --llama .venv-llama/bin/python --work /tmp/conformance

Makes llama.cpp's presets of the model in the folder --work, unless they are there, and runs check_decode.py, check_nll.py and check_deci.py on
them, then every other check_*.py beside this script with

    --model FILE --text FILE --paretopress BINARY --llama PYTHON --work FOLDER

A check says what it found in lines that begin with "ok" or "FAIL", and exits with 1 where it found something wrong. The last line
counts the checks; the exit code is 1 unless all passed.
"""

import argparse
import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--text", required=True)
    parser.add_argument("--paretopress", required=True, help="the binary")
    parser.add_argument("--llama", required=True, help="Python with llama-cpp-python")
    parser.add_argument("--work", required=True, help="folder for the files that are made")
    parser.add_argument("--only", nargs="+", help="names of checks, such as check_nll")
    args = parser.parse_args()
    script = lambda name: os.path.join(HERE, name + ".py")
    presets = os.path.join(args.work, "presets")
    subprocess.run([args.llama, script("llama_presets"), "--model", args.model, "--out", presets], check=True)
    files = [args.model, *sorted(glob.glob(os.path.join(presets, "*.gguf")))]
    exact = os.path.join(presets, "f32.gguf")

    checks = {
        "check_decode": [sys.executable, script("check_decode"), "--files", *files],
        "check_nll": [sys.executable, script("check_nll"), "--files", *files, "--text", args.text, "--paretopress", args.paretopress, "--llama", args.llama],
        "check_deci": [args.llama, script("check_deci"), "--model", exact, "--text", args.text],
    }
    for path in sorted(glob.glob(script("check_*"))):
        checks.setdefault(os.path.basename(path).removesuffix(".py"), [
            sys.executable, path, "--model", args.model, "--text", args.text, "--paretopress", args.paretopress,
            "--llama", args.llama, "--work", args.work])
    passed = failed = 0
    for name, command in checks.items():
        if args.only and name not in args.only:
            continue
        print(f"\n== {name}", flush=True)
        code = subprocess.run(command).returncode
        passed, failed = passed + (code == 0), failed + (code != 0)
    print(f"\n{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
