"""Registers, stack and spills of every CUDA kernel, from what `ptxas -v` said in a build's log.

    python .ci/cuda_resources.py build.log                the table, for docs/cuda.md
    python .ci/cuda_resources.py build.log docs/cuda.md   fails if a kernel spills more than that

A row of the first table holds the largest value over all targets; the second one is the occupancy
that registers and shared memory allow. C++ names are demangled with c++filt.
"""

import functools
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


class Multiprocessor(NamedTuple):
    """What one holds, by the table of compute capabilities in CUDA's programming guide."""

    warps: int
    blocks: int
    shared_bytes: int


MULTIPROCESSORS = {
    "sm_80": Multiprocessor(64, 32, 164 * 1024),
    "sm_90": Multiprocessor(64, 32, 228 * 1024),
    "sm_120": Multiprocessor(48, 24, 100 * 1024),
}
# Threads and dynamic shared memory of a block; log-mel's is that of the default spec.
BLOCKS = {
    "log_mel_forward<float, true>": (256, 38528),
    "log_mel_tile_gradients<float, true>": (256, 38528),
    "log_mel_gather_gradient<float>": (256, 0),
    "draw_pairs": (256, 0),
    "meet_all<float, HingeTerms<float> >": (256, 43520),
    "meet_all<float, SoftmaxSlopes<float> >": (256, 43520),
    "add_exponentials<float>": (256, 43520),
    "mine_rows<float>": (256, 44288),
    "scan<float>": (256, 0),
    "positives<float>": (256, 0),
}


class Resources(NamedTuple):
    """Registers of a thread, and bytes of its stack and spills."""

    registers: int = 0
    stack: int = 0
    spilled: int = 0

    def most(self, **found: int) -> "Resources":
        """The larger of each."""
        return self._replace(**{name: max(getattr(self, name), x) for name, x in found.items()})


@functools.cache
def demangled(name: str) -> str:
    """Kernel<template arguments>, without namespaces and parameters."""
    done = subprocess.run(["c++filt", name], capture_output=True, text=True, check=True)
    text = re.sub(r"\(anonymous namespace\)::|avts::|sync_loss::|^void ", "", done.stdout.strip())
    return text[: text.index("(")]


def parse(log: str) -> tuple[dict[str, Resources], dict[str, dict[str, int]]]:
    """By kernel what it needs at the most, and by target each kernel's registers."""
    found: dict[str, Resources] = {}
    registers: dict[str, dict[str, int]] = {}
    entry = kernel = target = function = ""
    for line in log.splitlines():
        if match := ENTRY.search(line):
            entry, target = match.groups()
            kernel = demangled(entry)
        elif match := PROPERTIES.search(line):
            function = match[1]
        elif (match := STACK.search(line)) and function == entry:
            stack, stores, loads = map(int, match.groups())
            resources = found.get(kernel, Resources())
            found[kernel] = resources.most(stack=stack, spilled=max(stores, loads))
        elif match := REGISTERS.search(line):
            found[kernel] = found.get(kernel, Resources()).most(registers=int(match[1]))
            registers.setdefault(target, {})[kernel] = int(match[1])
    return found, registers


def resident_blocks(threads: int, shared_bytes: int, registers: int, limits: Multiprocessor) -> int:
    """Blocks that a multiprocessor holds at a time.

    It has 65536 registers, of which a warp takes multiples of 256, and keeps 1 KiB of shared memory
    for itself with each block.
    """
    warps = threads // 32
    by_registers = 65536 // (-(-registers * 32 // 256) * 256) // warps
    by_shared = limits.shared_bytes // (shared_bytes + 1024)
    return min(limits.warps // warps, limits.blocks, by_registers, by_shared)


def occupancy_table(registers: dict[str, dict[str, int]]) -> str:
    """Blocks on a multiprocessor and the share of its warps that they are."""
    columns = [target for target in MULTIPROCESSORS if target in registers]
    rows = [f"| kernel | threads | shared bytes | {' | '.join(columns)} |"]
    rows.append("| --- |" + " --- |" * (2 + len(columns)))
    for kernel, (threads, shared) in BLOCKS.items():
        cells = []
        for target in columns:
            limits = MULTIPROCESSORS[target]
            blocks = resident_blocks(threads, shared, registers[target][kernel], limits)
            cells.append(f"{blocks}, {blocks * threads / 32 / limits.warps:.0%}")
        rows.append(f"| `{kernel}` | {threads} | {shared} | {' | '.join(cells)} |")
    return "\n".join(rows)


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
    found, registers = parse(log.read_text())
    targets = ", ".join(sorted(registers))
    if not found:
        sys.exit(f"{log} holds nothing of ptxas -v")
    if not record:
        print(f"{targets}\n\n{table(found)}\n\n{occupancy_table(registers)}")
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
    print(f"{len(found)} kernels for {targets}: none spills more than recorded")


if __name__ == "__main__":
    main()
