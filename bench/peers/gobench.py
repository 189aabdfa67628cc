"""Runs benchmarks of Go test binaries, and prints tables."""

import os
import re
import subprocess

LINE = re.compile(r"^(Benchmark\S+)\s+\d+\s+(.*)$", re.MULTILINE)


def run(binary, pattern, threads, benchtime, **env):
    """Runs the benchmarks that match a pattern; {name: {unit: value}}, in the order in which they ran.

    A pattern that nothing matches gives an empty dict: which benchmarks there are depends on the
    variants of the machine. Names are without "Benchmark" and without the number of threads.
    """
    command = [os.path.abspath(binary), "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", benchtime]
    result = subprocess.run(
        command, env=dict(os.environ, GOMAXPROCS=str(threads), **env), stdout=subprocess.PIPE, text=True, check=True)
    found = {}
    for name, values in LINE.findall(result.stdout):
        name = re.sub(r"-\d+$", "", name.removeprefix("Benchmark"))
        parts = values.split()
        found[name] = {unit: float(value) for value, unit in zip(parts[::2], parts[1::2])}
    return found


def exact(name):
    """The pattern of one benchmark with all that is below it: a/b gives ^a$/^b$."""
    return "/".join(f"^{re.escape(part)}$" for part in name.split("/"))


def markdown(heads, rows):
    """Prints a Markdown table."""
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
