"""Times the log-mel spectrogram beside torchaudio: equality first, then interleaved rounds.

    python benchmarks/bench_log_mel.py --threads 1 --rounds 15

Prints, for each configuration and direction, the median time of a call, the spread of the middle
half of the rounds, and the median over rounds of the ratio within a round, which is what stays
meaningful on a machine that is not idle.
"""

import argparse
import platform
import statistics
import time

import torch
import torchaudio

import avts_ext
from avts_ext import LogMelSpectrogram

# name: sample rate, n_fft, win_length, hop_length, n_mels
CONFIGS = {
    "512/320, 40 mels": (16000, 512, 320, 160, 40),
    "400/400, 80 mels": (16000, 400, 400, 160, 80),
    "320/320, 40 mels": (16000, 320, 320, 160, 40),
    "1024/960, 40 mels": (48000, 1024, 960, 480, 40),
}
EPS = 1e-6


def transforms(sample_rate, n_fft, win_length, hop_length, n_mels):
    """Ours and torchaudio's, both ln(x + eps) with all frames kept."""
    ours = LogMelSpectrogram(
        sample_rate, n_fft, win_length, hop_length, n_mels=n_mels, eps=EPS, drop_last=False
    )
    mel = torchaudio.transforms.MelSpectrogram(
        sample_rate, n_fft, win_length, hop_length, n_mels=n_mels
    )
    return ours, lambda x: (mel(x) + EPS).log()


def forward(transform, x):
    with torch.no_grad():
        return transform(x)


def forward_backward(transform, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(transform(x).sum(), x)[0]


def seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def report(name, ours, theirs):
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    cells = []
    for times in (ours, theirs):
        low, middle, high = statistics.quantiles(times, n=4)
        cells.append(f"{middle * 1e3:8.2f} ({low * 1e3:.2f} to {high * 1e3:.2f})")
    print(f"{name:36} {cells[0]:>28} {cells[1]:>28} {statistics.median(ratios):6.1f}x", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--duration-s", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(
        f"torch {torch.__version__}, torchaudio {torchaudio.__version__}, {platform.machine()}, "
        f"level {avts_ext.build_info()['cpu_level']}, {args.threads} threads, "
        f"{args.batch} x {args.duration_s} s, ms: median (middle half)"
    )
    print(f"{'':36} {'avts_ext':>28} {'torchaudio':>28}  ratio")
    for name, config in CONFIGS.items():
        ours, theirs = transforms(*config)
        x = torch.randn(args.batch, round(args.duration_s * config[0]))
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-3)
        for run in (forward, forward_backward):
            for transform in (ours, theirs):  # plans, caches, threads
                run(transform, x)
            rounds = [(seconds(run, ours, x), seconds(run, theirs, x)) for _ in range(args.rounds)]
            report(f"{name}, {run.__name__}", *zip(*rounds, strict=True))


if __name__ == "__main__":
    main()
