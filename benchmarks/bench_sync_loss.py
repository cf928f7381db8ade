"""Times and memory of the sync losses, forward plus backward, as ratios within one run.

    python benchmarks/bench_sync_loss.py times [--rows 64 256 1024 4096] [--dims 128 512]
    python benchmarks/bench_sync_loss.py memory [--rows 1024 4096 16384] [--plot memory.png]

Rows are unit vectors times 0.6, each audio row halfway between its video row and a random one, as
in the midst of training; a mode with "unrelated" has independent rows, the worst case of semi-hard
mining. Before anything is timed loss and gradients are compared with the peer's.

Times are medians of the CPU time of the calling thread, with one thread; the unit is one float32
`torch.mm` of rows x dim x rows in the same run. Peers: the loss as a user writes it in PyTorch,
with the whole matrix of pairs, eager and, with `--compile`, under torch.compile; and, with
`--metric-learning`, the batch-hard miner of pytorch-metric-learning. `--threads 2` times
wall-clock, beside one thread, to be run on an idle machine.

"Of the aim" is how much of the project's aims a line has reached, the least of them if there are
several, with what it is measured by: below 1 it is missed.

Memory is the peak of the resident set above inputs and gradients during one call.
"""

import argparse
import ctypes
import itertools
import multiprocessing
import statistics
import time
from pathlib import Path

import page
import torch

from avts_ext import build_info
from avts_ext.ops import sync_contrastive_loss

MARGIN = 0.99
MODES = {
    "hardest": {"mining": "hardest"},
    "top-4": {"mining": "hardest", "k": 4},
    "semi-hard": {"mining": "semi_hard"},
    "semi-hard, unrelated": {"mining": "semi_hard"},
    "all negatives": {},
    "triplet, hardest": {"objective": "triplet", "mining": "hardest", "margin": 0.2},
    "InfoNCE": {"objective": "infonce"},
    "sigmoid": {"objective": "sigmoid"},
}
PEER_ROWS = 4096  # beyond, peers need gigabytes and minutes


def make_rows(rows, dim, related=True):
    video, other = (torch.nn.functional.normalize(torch.randn(rows, dim)) for _ in range(2))
    audio = torch.nn.functional.normalize(video + other) if related else other
    return (0.6 * video).requires_grad_(), (0.6 * audio).requires_grad_()


def ours(video, audio, mode):
    return sync_contrastive_loss(video, audio, **MODES[mode])


def peer(video, audio, mode):
    """The same loss on aligned rows as a user would write it."""
    rows = len(video)
    own = torch.eye(rows, dtype=torch.bool)
    if mode == "InfoNCE":
        logits, labels = video @ audio.T / 0.07, torch.arange(rows)
        cross_entropy = torch.nn.functional.cross_entropy
        return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    if mode == "sigmoid":
        logits = video @ audio.T / 0.07
        return torch.nn.functional.softplus(torch.where(own, -logits, logits)).sum() / rows
    d = torch.cdist(video, audio)
    positive = (video - audio).square().sum(1)
    others = d.masked_fill(own, torch.inf)
    if mode == "all negatives":
        hinge = (MARGIN - others).clamp(min=0).square()
        return (positive.mean() + hinge.sum() / (others.numel() - rows)) / 2
    if mode.startswith("semi-hard"):
        floor = d.detach().diagonal()
        sides = (others.masked_fill(others <= floor[:, None], torch.inf), 1)
        both = (sides, (others.masked_fill(others <= floor[None], torch.inf), 0))
        nearest = torch.cat([x.min(dim).values for x, dim in both])
    elif mode == "top-4":
        nearest = torch.cat(
            [
                others.topk(4, dim=1, largest=False).values.flatten(),
                others.topk(4, dim=0, largest=False).values.flatten(),
            ]
        )
    else:
        nearest = torch.cat([others.min(1).values, others.min(0).values])
    if mode.startswith("triplet"):
        return (0.2 + positive.sqrt().repeat(2) - nearest).clamp(min=0).square().mean()
    return (positive.mean() + (MARGIN - nearest).clamp(min=0).square().mean()) / 2


def batch_hard(video, audio, _):
    """What pytorch-metric-learning has for the hardest negative of each video row."""
    from pytorch_metric_learning import losses, miners

    labels = torch.arange(len(video))
    mined = miners.BatchHardMiner()(video, labels, audio, labels.clone())
    return losses.TripletMarginLoss(margin=MARGIN)(video, labels, mined, audio, labels.clone())


def step(loss, video, audio, mode):
    value = loss(video, audio, mode)
    return value, *torch.autograd.grad(value, (video, audio))


def median_s(function, seconds, clock):
    function()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 400):
        start = clock()
        function()
        times.append(clock() - start)
    return statistics.median(times)


def check_equal(video, audio, mode):
    # The peer in float64: by its own rounding cdist takes another negative where two are near.
    wide = (x.detach().double().requires_grad_() for x in (video, audio))
    found, expected = step(ours, video, audio, mode), step(peer, *wide, mode)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1e-4, atol=1e-4 * y.abs().max().item())


# The project's aims: time in units of torch.mm at most, with and without multiplication of bytes;
# time in units of "hardest" at most; and how often ours fits at least into a peer's time.
MM_AIMS = {
    ("hardest", 1024): (1.0, 1.0),
    ("hardest", 4096): (0.45, 0.8),
    ("hardest", 16384): (0.35, 0.65),
    ("InfoNCE", 4096): (3.5, 3.5),
    ("all negatives", 4096): (3.5, 3.5),
}
HARDEST_AIM = 1.5  # of top-k and semi-hard
PEER_AIMS = {
    ("hardest", 64): {"eager": 3, "compiled": 1.5},
    ("hardest", 256): {"eager": 3, "compiled": 1.5},
    ("hardest", 4096): {"eager": 20, "batch-hard": 60},
    ("InfoNCE", 4096): {"compiled": 1.75},
}
THREADS_AIM, THREADS_AIM_ROWS = 1.8, 1024  # from so many rows on
PEERS = ("eager", "compiled", "batch-hard", "one thread")


def multiplies_bytes():
    flags = Path("/proc/cpuinfo")
    vnni = flags.exists() and "avx512_vnni" in flags.read_text()
    return vnni and build_info()["cpu_level"] == "avx512"


def reached(mode, rows, dim, ratios):
    """How much of each aim, with which it is compared; 1 or more: all of it."""
    found = {}
    if (mode, rows) in MM_AIMS and (dim == 128 or mode == "hardest"):
        found["mm"] = MM_AIMS[mode, rows][not multiplies_bytes()] / ratios["mm"]
    if mode in ("top-4", "semi-hard") and "hardest" in ratios:
        found["hardest"] = HARDEST_AIM / ratios["hardest"]
    aims = dict(PEER_AIMS.get((mode, rows), {}))
    if rows >= THREADS_AIM_ROWS:
        aims["one thread"] = THREADS_AIM
    return found | {name: ratios[name] / aim for name, aim in aims.items() if name in ratios}


def compare(rows, dim, mode, options, clock):
    """Seconds of ours, and the ratios."""
    video, audio = make_rows(rows, dim, related="unrelated" not in mode)
    plain = video.detach(), audio.detach().T
    unit = median_s(lambda: torch.mm(*plain), options.seconds, clock)
    times = {"ours": ours}
    if rows <= PEER_ROWS and options.threads == 1:
        check_equal(video, audio, mode)
        times["eager"] = peer
        if options.compile:
            torch.compiler.reset()
            times["compiled"] = torch.compile(peer, dynamic=False)
        if options.metric_learning and mode == "hardest":
            times["batch-hard"] = batch_hard
    found = {
        name: median_s(lambda f=f: step(f, video, audio, mode), options.seconds, clock)
        for name, f in times.items()
    }
    if options.threads > 1:
        torch.set_num_threads(1)
        found["one thread"] = median_s(
            lambda: step(ours, video, audio, mode), options.seconds, clock
        )
        torch.set_num_threads(options.threads)
    own = found.pop("ours")
    return own, {"mm": own / unit} | {name: x / own for name, x in found.items()}


def line_of(mode, rows, dim, own, ratios):
    aims = reached(mode, rows, dim, ratios)
    worst = min(aims, key=aims.get, default=None)
    return [
        mode,
        rows,
        dim,
        f"{own * 1e3:.3f}",
        f"{ratios['mm']:.2f}",
        *(f"{ratios[name]:.2f}" if name in ratios else "" for name in ("hardest", *PEERS)),
        f"{aims[worst]:.2f} ({worst})" if aims else "",
    ]


def show_times(options):
    torch.set_num_threads(options.threads)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    level = build_info()["cpu_level"]
    bytes_too = ", products of bytes" if multiplies_bytes() else ""
    table = Table(options)
    table.say(f"{level}{bytes_too}, {options.threads} threads, torch {torch.__version__}\n")
    heads = ["mode", "rows", "dim", "ms", "x mm", "x hardest", *(f"{x} / ours" for x in PEERS)]
    table.say("| " + " | ".join([*heads, "of the aim"]) + " |")
    table.say("|---" * (len(heads) + 1) + "|")
    for dim, rows in itertools.product(options.dims, options.rows):
        hardest = None
        for mode in options.modes:
            own, ratios = compare(rows, dim, mode, options, clock)
            hardest = own if mode == "hardest" else hardest
            if hardest and mode.startswith(("top", "semi")):
                ratios["hardest"] = own / hardest
            line = line_of(mode, rows, dim, own, ratios)
            table.say("| " + " | ".join(map(str, line)) + " |")
    table.write()


class Table:
    """What is printed, and then put into a page between two comments that name it."""

    def __init__(self, options):
        self.lines, self.into = [], options.into

    def say(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def write(self):
        if self.into:
            page.put(*self.into, "\n".join(self.lines))


MEMORY_AIMS_MIB = {(16384, 128): 64, (65536, 256): 1024}


def peak_mib(rows, dim, mode):
    """Peak of the resident set during a step, above what it was before, less the gradients."""

    def resident_kib(name):
        (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if name in x)
        return int(line.split()[1])

    torch.manual_seed(0)
    torch.set_num_threads(1)
    video, audio = make_rows(rows, dim)
    step(ours, *(x[:64] for x in (video, audio)), mode)
    ctypes.CDLL(None).malloc_trim(0)  # what is free must not be used again unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident_kib("VmRSS")
    step(ours, video, audio, mode)
    return (resident_kib("VmHWM") - before - 2 * rows * dim * 4 / 1024) / 1024


def show_memory(options):
    found, table = {}, Table(options)
    table.say("| mode | rows | dim | MiB above inputs and gradients | bytes a row | of the aim |")
    table.say("|---" * 6 + "|")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for mode, dim, rows in itertools.product(options.modes, options.dims, options.rows):
            extra = processes.apply(peak_mib, (rows, dim, mode))
            found.setdefault((mode, dim), []).append((rows, extra))
            per_row = extra * 2**20 / rows
            aim = MEMORY_AIMS_MIB.get((rows, dim))
            reached = f"{aim / extra:.2f}" if aim else ""
            table.say(f"| {mode} | {rows} | {dim} | {extra:.1f} | {per_row:.0f} | {reached} |")
    table.write()
    if options.plot:
        plot_memory(found, options.plot)


def plot_memory(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for (mode, dim), points in found.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{mode}, D = {dim}")
    rows = sorted({rows for points in found.values() for rows, _ in points})
    matrix = [4 * n * n / 2**20 for n in rows]
    axes.plot(rows, matrix, color="grey", linestyle="--", label="one matrix of pairs, float32")
    axes.set(xlabel="rows", ylabel="MiB above inputs and gradients", xscale="log", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["times", "memory"])
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--dims", type=int, nargs="+", default=[128])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--metric-learning", action="store_true")
    parser.add_argument(
        "--into", nargs=2, metavar=("PAGE", "NAME"), help="put the table into a page, where it says"
    )
    parser.add_argument("--plot", help="file to draw memory against rows in")
    options = parser.parse_args()
    torch.manual_seed(0)
    show_times(options) if options.what == "times" else show_memory(options)


if __name__ == "__main__":
    main()
