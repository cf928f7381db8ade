"""Times the clip-offset sampler beside vectorised PyTorch: equal statistics first, then rounds.

    python benchmarks/bench_clip_offset.py --seconds 5

Both draw a video start, an audio start, the audio's medium, the kind and the fallback flag, all
four kinds alike, for media of 5 to 15 s; a set has 1,000 media, or as many as there are pairs.
Timed are the compiled function on memory it is given (raw), the operator, `ClipStarts.draw`, and
the same distributions in whole-tensor operations (torch).

All run on one thread, and what is told is the CPU time of that thread: the time of a call on an
idle machine. Prints per number of pairs the median over rounds, the spread of the middle half, and
the median of the ratio within a round.
"""

import argparse
import itertools
import platform
import statistics
import time

import torch

import avts_ext
from avts_ext._extension import _C
from avts_ext.ops import ClipStarts, PairKind

KINDS = ("positive", "easy", "hard", "super_hard")
BOUNDS = [2**30, 2**31, 3 * 2**30, 2**32]


class TorchSampler:
    """The same distributions in whole-tensor operations, drawn from PyTorch's generator."""

    def __init__(self, starts):
        self.counts = starts.ranges[:, 1].diff()
        self.starts = starts
        self.cumulative = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)

    def __call__(self, query):
        media, s = len(self.counts), self.starts
        count = self.counts[query]
        choice, side, u, v, w = torch.rand(5, len(query), dtype=torch.float64)
        wanted = torch.bucketize(choice, self.cumulative, right=True)
        hard = (wanted == PairKind.HARD) & (count > s.hard_distance)
        super_hard = (wanted == PairKind.SUPER_HARD) & (count > s.min_offset)
        apart = hard | super_hard
        kind = torch.where((wanted == PairKind.POSITIVE) | apart, wanted, PairKind.EASY)

        partner = (w * (media - 1)).long()
        partner += partner >= query
        video = (u * count).long()
        audio = torch.where(kind == PairKind.EASY, (v * self.counts[partner]).long(), video)

        room = (count - s.hard_distance).clamp_(min=1)
        i, j = (u * room).long(), (v * (room + 1)).long()
        folded = j > i
        hard_early, hard_late = torch.where(folded, i, j), torch.where(folded, j - 1, i)

        high = (count - 1).clamp_(max=s.max_offset)
        shift = s.min_offset + (u * (high - s.min_offset + 1)).long()
        near_early = (v * (2 * count - s.min_offset - high)).long()
        beyond = near_early >= count - shift
        near_early = torch.where(beyond, near_early - count + shift, near_early)
        shift = torch.where(beyond, s.min_offset + high - shift, shift)

        early = torch.where(hard, hard_early, near_early)
        late = torch.where(hard, hard_late + s.hard_distance, near_early + shift)
        audio_late = side < 0.5
        video = torch.where(apart, torch.where(audio_late, early, late), video)
        audio = torch.where(apart, torch.where(audio_late, late, early), audio)
        audio_media = torch.where(kind == PairKind.EASY, partner, query)
        return video, audio, kind.to(torch.int8), audio_media, kind != wanted


def table_of(media):
    durations_s = torch.rand(media, dtype=torch.float64) * 10 + 5
    return ClipStarts.in_seconds(durations_s, clip_s=1.0)


def check_equal_statistics():
    """The means of both samplers' results agree to five standard errors."""
    starts = table_of(1000)
    ours = starts.draw(seed=0, draws=100, proportions=dict.fromkeys(KINDS, 1))
    ours = (ours.video_start / starts.step, ours.audio_start / starts.step, *ours[2:])
    for a, b in zip(ours, TorchSampler(starts)(torch.arange(1000).repeat(100)), strict=True):
        a, b = a.double().flatten(), b.double()
        error = (a.var() / len(a) + b.var() / len(b)).sqrt()
        assert (a.mean() - b.mean()).abs() <= 5 * error, (a.mean(), b.mean(), error)


def seconds_per_call(function, calls):
    start = time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - start) / calls


def forms(batch, shuffled):
    """What is timed: name to a call without arguments. No call repeats the one before it."""
    starts = table_of(max(batch, 1000))
    order = torch.randperm if shuffled else torch.arange
    queries = itertools.cycle([order(len(starts)).roll(i)[:batch] for i in range(16)])
    table = (starts.media, starts.ranges)
    limits = (starts.hard_distance, starts.min_offset, starts.max_offset, BOUNDS)
    operator = torch.ops.avts.clip_offset.default
    out = operator(*table, next(queries), *limits, 0, 0, 0, 1)
    epochs = itertools.count()
    peer = TorchSampler(starts)
    proportions = dict.fromkeys(KINDS, 1.0)
    return {
        "raw": lambda: _C.clip_offset(*table, next(queries), *limits, 0, next(epochs), 0, 1, *out),
        "op": lambda: operator(*table, next(queries), *limits, 0, next(epochs), 0, 1),
        "draw": lambda: starts.draw(
            next(queries), seed=0, epoch=next(epochs), proportions=proportions
        ),
        "torch": lambda: peer(next(queries)),
    }


def rounds_of(functions, calls, seconds):
    times = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["raw"]) < 5:
        for name, function in functions.items():
            function()  # caches: the one before it used much memory or little
            times[name].append(seconds_per_call(function, calls))
    return times


def cell(times):
    low, middle, high = (1e6 * t for t in statistics.quantiles(times, n=4))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 1024, 16384, 262144])
    parser.add_argument("--seconds", type=float, default=5.0, help="per number of pairs")
    parser.add_argument("--shuffled", action="store_true", help="visit the media in random order")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    check_equal_statistics()
    print(
        f"torch {torch.__version__}, {platform.machine()}, "
        f"level {avts_ext.build_info()['cpu_level']}, one thread, "
        f"media {'shuffled' if args.shuffled else 'in order'}\n"
        "CPU us: median (middle half); torch / x: median ratio within a round"
    )
    print("| pairs | raw | op | draw | torch | torch / raw | torch / op | torch / draw |")
    print("|---|---|---|---|---|---|---|---|")
    for batch in args.batches:
        times = rounds_of(
            forms(batch, args.shuffled), calls=max(1, 1024 // batch), seconds=args.seconds
        )
        cells = [cell(values) for values in times.values()]
        for name in ("raw", "op", "draw"):
            pairs = zip(times["torch"], times[name], strict=True)
            cells.append(f"{statistics.median(theirs / ours for theirs, ours in pairs):.1f}x")
        print(f"| {batch} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
