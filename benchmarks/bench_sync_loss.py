"""Times of forward plus backward of the sync losses, as ratios within one run.

python benchmarks/bench_sync_loss.py [--rows 1024 4096] [--dim 128] [--repeats 7]

Before anything is timed the loss and its gradients are compared with the eager form. The units are
one float32 ``torch.mm`` of rows x dim x rows, and eager PyTorch with the whole matrix of pairs.
"""

import argparse
import statistics
import time

import torch

from avts_ext import build_info
from avts_ext.ops import sync_contrastive_loss

CASES = [("margin", "hardest"), ("margin", "all"), ("infonce", "all")]


def eager_loss(video, audio, objective, mining):
    """The same loss on aligned rows as a user would write it."""
    own = torch.eye(len(video), dtype=torch.bool)
    if objective == "infonce":
        logits, labels = video @ audio.T / 0.07, torch.arange(len(video))
        cross_entropy = torch.nn.functional.cross_entropy
        return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2
    d = torch.cdist(video, audio)
    positive = (video - audio).square().sum(1).mean()
    others = d.masked_fill(own, torch.inf)
    if mining == "hardest":
        nearest = torch.cat([others.min(0).values, others.min(1).values])
        return (positive + (0.99 - nearest).clamp(min=0).square().mean()) / 2
    hinge = (0.99 - others).clamp(min=0).square()
    return (positive + hinge.sum() / (others.numel() - len(video))) / 2


def fused_loss(video, audio, objective, mining):
    return sync_contrastive_loss(video, audio, objective=objective, mining=mining)


def step(loss, video, audio, case):
    value = loss(video, audio, *case)
    return value, *torch.autograd.grad(value, (video, audio))


def times_s(function, repeats):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def report(name, times, unit_s, eager_s):
    median = statistics.median(times)
    spread = (max(times) - min(times)) / median
    print(
        f"  {name:16} {median * 1e3:9.2f} ms  spread {spread:4.0%}  "
        f"{median / unit_s:7.2f} x mm  eager / ours {eager_s / median:5.2f}"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 1024, 4096])
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print(
        f"{build_info()['cpu_level']}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for rows in options.rows:
        unit_norm = torch.nn.functional.normalize
        video = (0.6 * unit_norm(torch.randn(rows, options.dim))).requires_grad_()
        audio = (0.6 * unit_norm(torch.randn(rows, options.dim))).requires_grad_()
        plain = video.detach(), audio.detach().T
        unit_s = statistics.median(times_s(lambda p=plain: torch.mm(*p), options.repeats))
        print(f"rows {rows}, dim {options.dim}: torch.mm {unit_s * 1e3:.2f} ms")
        for case in CASES:
            ours, eager = step(fused_loss, video, audio, case), step(eager_loss, video, audio, case)
            for found, expected in zip(ours, eager, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
            run = [
                times_s(lambda f=f, v=video, a=audio, c=case: step(f, v, a, c), options.repeats)
                for f in (fused_loss, eager_loss)
            ]
            report(" ".join(case), run[0], unit_s, statistics.median(run[1]))


if __name__ == "__main__":
    main()
