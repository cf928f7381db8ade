"""Times the operators on a GPU, in units of what the GPU can do; prints what no timing changes.

    python benchmarks/bench_cuda.py              floors, and times where there is a GPU
    python benchmarks/bench_cuda.py --device cpu the same code on the CPU, to try it

Times come from device events around many calls that rotate through several input sets, after a
warm-up; the median over repeats. Of the bytes that a call cannot avoid to move it prints the rate
as a share of that of a large copy, of its products the rate as a share of a float32 torch.mm.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import avts_ext
from avts_ext.ops import ClipStarts, log_mel_spectrogram, sync_contrastive_loss
from avts_ext.ops.log_mel_spec import LogMelSpec

SPECS = {
    "512/320, 40 mels": LogMelSpec(),
    "400/400, 80 mels": LogMelSpec(n_fft=400, win_length=400, n_mels=80),
    "1024/960, 40 mels": LogMelSpec(
        sample_rate=48000, n_fft=1024, win_length=960, hop_length=480, n_mels=40
    ),
    "2048/2048, 128 mels": LogMelSpec(n_fft=2048, win_length=2048, hop_length=512, n_mels=128),
}
LOSSES = {
    "margin, hardest": {},
    "margin, all": {"mining": "all"},
    "infonce": {"objective": "infonce"},
}
WARM_UP, CALLS, REPEATS = 3, 8, 7


# --- Floors: by design, on any machine ----------------------------------------------------------


def fft_flops(n_fft: int) -> int:
    """Additions and multiplications of the real transform as the kernel does it."""
    points = n_fft if n_fft % 2 else n_fft // 2
    butterfly = {2: 4, 3: 16, 4: 16, 5: 44}  # without the twiddles, 6 for each output but one
    flops, rest = 0, points
    for radix in (4, 2, 3, 5):
        while rest % radix == 0:
            flops += points // radix * (butterfly[radix] + 6 * (radix - 1))
            rest //= radix
    assert rest == 1, f"no count for {n_fft}"
    return flops + (0 if n_fft % 2 else 20 * (points // 2))


def print_log_mel_floors() -> None:
    """A tile of 8, 4, 2 or 1 frames, as csrc/log_mel/cuda/plan.cpp chooses it."""
    print(
        "\n| log-mel | bytes a frame: floor | read and written | by flashmel | flops "
        "| frames, KiB of a block |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name, spec in SPECS.items():
        step, points = min(spec.hop_length, spec.win_length), spec.n_fft // 2

        def block_bytes(frames: int, spec=spec, step=step, points=points) -> int:
            span = -(-((frames - 1) * step + spec.win_length) // 4) * 4
            return 4 * (span + 4 * frames * points)

        frames = next(n for n in (8, 4, 2, 1) if n == 1 or block_bytes(n) <= 48 * 1024)
        floor = 4 * (spec.hop_length + spec.n_mels)
        moved = 4 * ((frames - 1) * step + spec.win_length) / frames + 4 * spec.n_mels
        flashmel = 4 * (spec.n_fft + spec.n_mels)  # reads the whole of each frame
        bins = points + 1
        flops = fft_flops(spec.n_fft) + spec.win_length + 3 * bins + 4 * bins + 3 * spec.n_mels
        memory = block_bytes(frames) / 1024
        print(f"| {name} | {floor} | {moved:.0f} | {flashmel} | {flops} | {frames}, {memory:.1f} |")


def print_sync_floors() -> None:
    """Of N x N pairs of D elements; matrices of pairs would be 4 N^2 bytes each."""
    print("\n| sync loss | flops: floor | done | read from the L2 cache | memory beside the rows |")
    print("| --- | --- | --- | --- | --- |")
    n, d = 4096, 128
    product = 2 * n * n * d
    # Products' worth of flops at the least, those done, and passes over the other side's rows.
    rows = {
        # a product and its fused maxima; by differences, half as much again, once for each side
        "margin, hardest": (1, 2 * 1.5, 2),
        # a product, and from it the gradient of both sides; here each side measures for itself
        "margin, all": (3, 2 * (1.5 + 1.5), 4),
        # first the sums of exponentials, then the products again for the gradient
        "infonce": (4, 2 * (1 + 1 + 1), 6),
    }
    for name, (floor, done, passes) in rows.items():
        read = passes * (n // 64) * n * d * 4
        memory = 2 * n * (21 + 3 + 3) * 8  # sums, farthest positives, one negative
        print(
            f"| {name}, {n} x {d} | {floor * product / 1e9:.1f} G | {done * product / 1e9:.1f} G | "
            f"{read / 1e6:.0f} MB | {memory / 1e6:.1f} MB |"
        )


def print_infonce_floors() -> None:
    """Infonce with its gradient beside Inf-CL's kernels (inf_cl/flash.py), once each way.

    Both meet tiles of 64 x 64 pairs. What a tile's block reads and writes is counted in tiles of 64
    rows, the owned ones included, whichever cache they come from.
    """
    n, d = 4096, 256
    sums = 2  # both sides' rows, for the products
    slopes = 2 + 1 + 2  # and the other side's again; the gradient, read and written
    ours = 2 * (sums + slopes)  # for each side
    theirs = 2 * (sums + 2 * slopes)  # each way has a pass for the gradient of either side
    products = {"ours": 6, "Inf-CL": 2 * (1 + 2 * 2)}
    operands = {"ours": 2 * 16 * 68 * 4, "Inf-CL": 2 * 64 * 256 * 4}
    print(f"\n| infonce, {n} x {d} | flops | read and written | operands of a tile |")
    print("| --- | --- | --- | --- |")
    for name, row_tiles in (("ours", ours), ("Inf-CL", theirs)):
        moved = row_tiles * (n // 64) ** 2 * 64 * d * 4
        print(
            f"| {name} | {products[name] * 2 * n * n * d / 1e9:.1f} G | {moved / 1e9:.1f} GB | "
            f"{operands[name] / 1024:.1f} KiB |"
        )


# --- Times --------------------------------------------------------------------------------------


class Clock:
    """Seconds of device time."""

    def __init__(self, device: str) -> None:
        self.device = device

    def _mark(self) -> "float | torch.cuda.Event":
        if self.device == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, begin, end) -> float:
        if self.device == "cpu":
            return end - begin
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def seconds_a_call(self, call: Callable, inputs: list) -> float:
        """The median of a call, over inputs by turns, so that none is left in a cache."""
        for n in range(WARM_UP):
            call(*inputs[n % len(inputs)])
        times = []
        for _ in range(REPEATS):
            begin = self._mark()
            for n in range(CALLS):
                call(*inputs[n % len(inputs)])
            times.append(self._between(begin, self._mark()) / CALLS)
        return statistics.median(times)


def copy_bytes_a_second(clock: Clock, megabytes: int) -> float:
    pairs = [
        tuple(torch.ones(megabytes * 2**18, device=clock.device) for _ in range(2))
        for _ in range(3)
    ]
    return 2 * megabytes * 2**20 / clock.seconds_a_call(lambda a, b: a.copy_(b), pairs)


def gradient_of(function: Callable) -> Callable:
    def call(*inputs):
        inputs = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad(function(*inputs).sum(), inputs)

    return call


def time_log_mel(clock: Clock, copy: float, batch: int) -> None:
    print("\n| log-mel | ns a frame | GB/s of the floor | of a copy |\n| --- | --- | --- | --- |")
    for name, spec in SPECS.items():
        samples = 2 * int(spec.sample_rate)
        frames = batch * spec.frames(samples)

        def transform(x, spec=spec):
            return log_mel_spectrogram(x, spec)

        inputs = [(torch.randn(batch, samples, device=clock.device),) for _ in range(4)]
        values = 4 * frames * spec.n_mels
        for direction, call, moved in (
            ("forward", transform, 4 * batch * samples + values),
            ("and backward", gradient_of(transform), 12 * batch * samples + 4 * values),
        ):
            seconds = clock.seconds_a_call(call, inputs)
            rate = moved / seconds
            print(
                f"| {name}, {direction} | {seconds / frames * 1e9:.2f} | {rate / 1e9:.1f} | "
                f"{rate / copy:.0%} |"
            )


def time_sync_loss(clock: Clock, rows: list[int], dim: int) -> None:
    print("\n| sync loss, forward and backward | ms | torch.mm |\n| --- | --- | --- |")
    for n in rows:
        inputs = [
            tuple(0.05 * torch.randn(n, dim, device=clock.device) for _ in range(2))
            for _ in range(3)
        ]
        mm = clock.seconds_a_call(lambda a, b: a @ b.T, inputs)
        for name, options in LOSSES.items():
            loss = gradient_of(lambda v, a, o=options: sync_contrastive_loss(v, a, **o))
            seconds = clock.seconds_a_call(loss, inputs)
            print(f"| {name}, {n} x {dim} | {seconds * 1e3:.3f} | {seconds / mm:.1f} |")


def time_clip_offsets(clock: Clock, media: int) -> None:
    print("\n| clip offsets | ns a pair |\n| --- | --- |")
    durations_s = torch.full((media,), 10.0, dtype=torch.float64, device=clock.device)
    starts = ClipStarts.in_seconds(durations_s, clip_s=1.0)
    seeds = [(seed,) for seed in range(4)]
    seconds = clock.seconds_a_call(lambda seed: starts.draw(seed=seed), seeds)
    print(f"| {media} pairs | {seconds / media * 1e9:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rows", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--media", type=int, default=1_000_000)
    parser.add_argument("--copy-mb", type=int, default=512)
    args = parser.parse_args()
    print_log_mel_floors()
    print_sync_floors()
    print_infonce_floors()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("\nno GPU that PyTorch can use: no times")
        return
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"\n{name}, torch {torch.__version__}, avts_ext {avts_ext.__version__}")
    clock = Clock(args.device)
    copy = copy_bytes_a_second(clock, args.copy_mb)
    print(f"copy: {copy / 1e9:.1f} GB/s, reading and writing")
    time_log_mel(clock, copy, args.batch)
    time_sync_loss(clock, args.rows, args.dim)
    time_clip_offsets(clock, args.media)


if __name__ == "__main__":
    main()
