"""Registers, stack and spills of every CUDA kernel, from what `ptxas -v` said in a build's log.

    python .ci/cuda_resources.py build.log                the table, for docs/cuda.md
    python .ci/cuda_resources.py build.log docs/cuda.md   fails if a kernel spills more than that

A row holds the largest value over all targets. C++ names are demangled with c++filt.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("registers", "stack", "spilled")
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\d+)'")
PROPERTIES = re.compile(r"Function properties for (\w+)")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


class Resources(NamedTuple):
    """Registers of a thread, and bytes of its stack and spills."""

    registers: int = 0
    stack: int = 0
    spilled: int = 0

    def most(self, **found: int) -> "Resources":
        """The larger of each."""
        return self._replace(**{name: max(getattr(self, name), x) for name, x in found.items()})


def demangled(name: str) -> str:
    """Kernel<template arguments>, without namespaces and parameters."""
    done = subprocess.run(["c++filt", name], capture_output=True, text=True, check=True)
    text = re.sub(r"\(anonymous namespace\)::|avts::|sync_loss::|^void ", "", done.stdout.strip())
    return text[: text.index("(")]


def parse(log: str) -> tuple[dict[str, Resources], set[str]]:
    """By kernel, and the targets that the log is of."""
    found: dict[str, Resources] = {}
    targets: set[str] = set()
    kernel = function = ""
    for line in log.splitlines():
        if match := ENTRY.search(line):
            kernel, target = match.groups()
            targets.add(target)
        elif match := PROPERTIES.search(line):
            function = match[1]
        elif (match := STACK.search(line)) and function == kernel:
            stack, stores, loads = map(int, match.groups())
            resources = found.get(kernel, Resources())
            found[kernel] = resources.most(stack=stack, spilled=max(stores, loads))
        elif match := REGISTERS.search(line):
            found[kernel] = found.get(kernel, Resources()).most(registers=int(match[1]))
    return {demangled(name): resources for name, resources in found.items()}, targets


def table(found: dict[str, Resources]) -> str:
    """A Markdown table."""
    rows = [f"| kernel | {' | '.join(COLUMNS)} |", "| --- | --- | --- | --- |"]
    for name in sorted(found):
        rows.append(f"| `{name}` | {' | '.join(map(str, found[name]))} |")
    return "\n".join(rows)


def budget(text: str) -> dict[str, int]:
    """Bytes that each kernel of a table may spill."""
    return {row[1]: int(row[2]) for row in re.finditer(r"^\| `(.+?)` \|.*\| (\d+) \|$", text, re.M)}


def main() -> None:
    """See the module."""
    log, *record = map(Path, sys.argv[1:])
    found, targets = parse(log.read_text())
    if not found:
        sys.exit(f"{log} holds nothing of ptxas -v")
    if not record:
        print(f"{', '.join(sorted(targets))}\n\n{table(found)}")
        return
    allowed = budget(record[0].read_text())
    worse = [
        f"{name} spills {resources.spilled} bytes, {allowed.get(name, 0)} are recorded"
        for name, resources in found.items()
        if resources.spilled > allowed.get(name, 0)
    ]
    missing = sorted(set(found) - set(allowed))
    if worse or missing:
        sys.exit("\n".join([*worse, *(f"{name} is not in {record[0]}" for name in missing)]))
    print(f"{len(found)} kernels for {', '.join(sorted(targets))}: none spills more than recorded")


if __name__ == "__main__":
    main()
