"""Draws docs/images/sync_loss.png: what kind of pair an audio window makes with one video window.

python docs/plot_sync_loss.py docs/images/sync_loss.png
"""

import sys

import matplotlib
import torch

from avts_ext.ops.clip_offset import PairKind
from avts_ext.ops.reference.sync_loss import IGNORED, Windows, pair_kinds
from avts_ext.ops.sync_options import SyncLossOptions

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    PairKind.POSITIVE: ("positive", "#1b7837"),
    IGNORED: ("ignored", "#bdbdbd"),
    PairKind.SUPER_HARD: ("super-hard", "#d73027"),
    PairKind.HARD: ("hard", "#fc8d59"),
    PairKind.EASY: ("easy", "#4575b4"),
}
STARTS_S = (4.0, 4.15, 4.25, 4.6, 3.2, 5.0, 5.5, 1.8, 6.5)


def kind_of(video_id, start_s, audio_id, audio_start_s, options):
    """The kind of one pair of windows."""
    windows = (
        Windows(torch.tensor([medium]), torch.tensor([start], dtype=torch.float64))
        for medium, start in ((video_id, start_s), (audio_id, audio_start_s))
    )
    rule = options.clip_s, options.min_gap_s, options.min_offset_s
    return pair_kinds(*windows, *rule).item()


def main():
    """Draw one bar for each window, coloured by its kind."""
    options, start_s = SyncLossOptions(), STARTS_S[0]
    figure, axes = plt.subplots(figsize=(9, 4.4), layout="constrained")
    axes.barh(0, options.clip_s, left=start_s, color="black", height=0.7)
    axes.text(7.7, 0, "the video window", va="center")
    rows = [(0, audio_start_s) for audio_start_s in STARTS_S] + [(1, start_s)]
    for row, (medium, audio_start_s) in enumerate(rows, start=1):
        name, colour = COLOURS[kind_of(0, start_s, medium, audio_start_s, options)]
        axes.barh(row, options.clip_s, left=audio_start_s, color=colour, height=0.7)
        where = "another medium" if medium else f"{audio_start_s - start_s:+.2f} s"
        axes.text(7.7, row, f"{name} ({where})", va="center")
    for edge in (start_s, start_s + options.clip_s):
        axes.axvline(edge, color="black", linewidth=0.8, linestyle=":")
    for edge in (start_s - options.min_gap_s, start_s + options.clip_s + options.min_gap_s):
        axes.axvline(edge, color="#fc8d59", linewidth=0.8, linestyle="--")
    axes.set(xlabel="time in the medium, seconds", xlim=(1.5, 9.7), ylim=(len(rows) + 0.6, -0.7))
    axes.set_yticks([])
    axes.set_title(
        f"Windows of {options.clip_s:g} s. Dashed: min_gap_s = {options.min_gap_s:g} from it; "
        f"min_offset_s = {options.min_offset_s:g}",
        fontsize=10,
    )
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    figure.savefig(sys.argv[1], dpi=110)


if __name__ == "__main__":
    main()
