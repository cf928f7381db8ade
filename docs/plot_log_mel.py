"""Prints how closely each preset meets its library, and draws one of them: docs/images/log_mel.png.

    python docs/plot_log_mel.py

The libraries, and the written-out preprocessing where there is none to call, are those of the
parity tests.
"""

import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.log_mel_spec import PRESETS, LogMelSpec

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "python_tests" / "ops"))
from test_log_mel_presets import PARITY, sound  # noqa: E402


def both(name, changes, library, same_changes):
    """Our values and the library's, of one row of PARITY."""
    x = sound()
    ours = log_mel_spectrogram(x, LogMelSpec.from_preset(name, **changes))
    return ours, library(x, **same_changes).to(ours.dtype)


def print_table():
    """A row for each parity test."""
    print("| preset | changed | largest difference | mean | values from | to |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, changes, library, same_changes, _ in PARITY:
        ours, theirs = both(name, changes, library, same_changes)
        difference = (ours - theirs).abs()
        relative = PRESETS[name].get("log") == "none"
        if relative:
            difference = difference / theirs.abs().clamp(min=1e-12)
        changed = ", ".join(f"{k}={v:g}" for k, v in changes.items())
        unit = " relative" if relative else ""
        cells = [name, changed, f"{difference.max():.1e}{unit}", f"{difference.mean():.1e}"]
        print("| " + " | ".join([*cells, f"{theirs.min():.2f}", f"{theirs.max():.2f}"]) + " |")


def draw():
    """Preset librosa, librosa itself, and their difference."""
    ours, theirs = both(*next(row[:4] for row in PARITY if row[0] == "librosa"))
    figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained", sharey=True)
    for axis, values, title in zip(
        axes,
        (ours, theirs, (ours - theirs) * 1e5),
        ("avts_ext, preset librosa, dB", "librosa, dB", "difference, $10^{-5}$ dB"),
        strict=True,
    ):
        last = title.startswith("difference")
        limit = values.abs().max()
        scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if last else {"cmap": "magma"}
        picture = axis.imshow(values, origin="lower", aspect="auto", **scale)
        axis.set(title=title, xlabel="frame")
        figure.colorbar(picture, ax=axis)
    axes[0].set_ylabel("mel filter")
    figure.savefig(ROOT / "docs" / "images" / "log_mel.png", dpi=110)


def main():
    """Both."""
    warnings.filterwarnings("ignore", message="At least one mel filterbank")
    torch.manual_seed(0)
    print_table()
    draw()


if __name__ == "__main__":
    main()
