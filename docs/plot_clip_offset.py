"""Draws docs/images/clip_offset.png: drawn starts against the admissible ones.

python docs/plot_clip_offset.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from avts_ext.ops import ClipStarts

CLIP_S, GAP_S, OFFSET_S, STEP_S = 1.0, 0.5, 0.25, 0.125
VALID_S = [(0.0, 4.0), (5.0, 6.5), (8.0, 14.0)]
DRAWS = 200_000
TITLES = {
    "positive": "positive: the same window",
    "hard": f"hard: windows at least {GAP_S} s apart",
    "super_hard": f"super-hard: overlapping, at least {OFFSET_S} s apart",
}
BLUE, ORANGE, INVALID = "#2a6fbb", "#d9541e", "#e4e4e4"


def admissible(kind: str) -> torch.Tensor:
    """(steps, steps) bool, by the definition alone: may a pair start at (video, audio)?"""
    start_s = torch.arange(round(VALID_S[-1][1] / STEP_S)) * STEP_S
    stretch = torch.full(start_s.shape, -1)
    for i, (begin_s, end_s) in enumerate(VALID_S):
        stretch[(start_s >= begin_s) & (start_s + CLIP_S <= end_s)] = i
    shift_s = (start_s[:, None] - start_s).abs()
    apart = {
        "positive": shift_s == 0,
        "hard": shift_s - CLIP_S >= GAP_S,
        "super_hard": (shift_s >= OFFSET_S) & (shift_s < CLIP_S),
    }
    valid = stretch >= 0
    return valid[:, None] & valid & apart[kind]


def drawn(kind: str) -> torch.Tensor:
    """(steps, steps) counts of what the sampler draws."""
    media = ClipStarts.in_seconds(
        torch.tensor([VALID_S[-1][1]], dtype=torch.float64),
        clip_s=CLIP_S,
        valid_s=[VALID_S],
        min_gap_s=GAP_S,
        min_offset_s=OFFSET_S,
        snap_s=STEP_S,
    )
    pairs = media.draw(seed=0, draws=DRAWS, proportions={kind: 1})
    steps = round(VALID_S[-1][1] / STEP_S)
    cells = (pairs.video_start * steps + pairs.audio_start) / STEP_S
    return torch.bincount(cells.round().long().flatten(), minlength=steps**2).view(steps, steps)


def plot_pairs(axes, counts: torch.Tensor, allowed: torch.Tensor) -> None:
    """Counts as shares of what each admissible pair should get; those never admissible are grey."""
    expected = DRAWS / allowed.sum()
    shares = torch.where(allowed, counts / expected, float("nan"))
    colours = plt.get_cmap("viridis").copy()
    colours.set_bad(INVALID)
    image = axes.imshow(
        shares.T,
        origin="lower",
        extent=(0, VALID_S[-1][1], 0, VALID_S[-1][1]),
        cmap=colours,
        vmin=0,
        vmax=2,
        interpolation="nearest",
    )
    axes.figure.colorbar(image, ax=axes, label="drawn / expected", fraction=0.046)
    axes.set_xlabel("video start, s")
    axes.set_ylabel("audio start, s")


def plot_marginal(axes, counts: torch.Tensor, allowed: torch.Tensor) -> None:
    """How often each video start was drawn, beside its share of the admissible pairs."""
    edges = torch.arange(len(counts) + 1) * STEP_S
    axes.stairs(counts.sum(1), edges, fill=True, color=BLUE, alpha=0.5, label="drawn")
    expected = allowed.sum(1) * DRAWS / allowed.sum()
    axes.stairs(expected, edges, color=ORANGE, linewidth=1.2, label="admissible")
    for begin_s, end_s in VALID_S:
        axes.axvspan(begin_s, end_s, ymax=0.02, color="black")
    axes.set_xlim(0, VALID_S[-1][1])
    axes.set_xlabel("video start, s (black: valid stretches)")
    axes.set_ylabel("draws")
    axes.set_ylim(0, 1.3 * float(expected.max()))
    axes.legend(loc="upper center", ncols=2, frameon=False)


def main() -> None:
    """Draw one column per kind."""
    figure, axes = plt.subplots(
        2, 3, figsize=(13, 6.6), height_ratios=(1.5, 1), layout="constrained"
    )
    for (kind, title), (top, bottom) in zip(TITLES.items(), axes.T, strict=True):
        counts, allowed = drawn(kind), admissible(kind)
        assert not counts[~allowed].any(), f"{kind}: a pair that is not admissible was drawn"
        top.set_title(title)
        plot_pairs(top, counts, allowed)
        plot_marginal(bottom, counts, allowed)
    path = Path(__file__).parent / "images" / "clip_offset.png"
    figure.savefig(path, dpi=110)
    print(path)


if __name__ == "__main__":
    main()
