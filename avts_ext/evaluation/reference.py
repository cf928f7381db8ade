"""Published figures to print beside ours, each with where it stands and how sure that is.

"seed" figures are in the supplementary material of Korbar, Tran and Torresani (NeurIPS 2018),
"derived" ones follow from those and from gains that are quoted, and "recalled" ones are quoted from
memory of the paper and of works that restate it, unconfirmed.
"""

from __future__ import annotations

__all__ = ["reference_table"]

_SEED, _DERIVED, _RECALLED = "seed", "derived", "recalled"
_ROWS: tuple[tuple[str, dict[str, tuple[float, str]]], ...] = (
    (
        "random weights + linear SVM, or trained from scratch (MC3)",
        {"esc50": (45.2, _SEED), "ucf101": (69.1, _DERIVED), "hmdb51": (43.9, _DERIVED)},
    ),
    (
        "AVTS, Kinetics 230 K",
        {
            "esc50": (76.7, _SEED),
            "dcase2014": (91.2, _SEED),
            "ucf101": (85.8, _RECALLED),
            "hmdb51": (56.9, _RECALLED),
        },
    ),
    (
        "AVTS, AudioSet 230 K (13 % of each class)",
        {"esc50": (77.4, _SEED), "dcase2014": (91.9, _SEED), "ucf101": (86.4, _SEED)},
    ),
    ("AVTS, AudioSet 500 K (28 %)", {"esc50": (78.9, _SEED), "dcase2014": (92.0, _SEED)}),
    ("AVTS, AudioSet 1 M (55 %)", {"esc50": (79.5, _SEED), "dcase2014": (92.6, _SEED)}),
    (
        "AVTS, AudioSet 1.8 M (100 %)",
        {
            "esc50": (80.6, _SEED),
            "dcase2014": (93.1, _SEED),
            "ucf101": (89.0, _SEED),
            "hmdb51": (61.6, _RECALLED),
        },
    ),
    ("AVTS, SoundNet", {"esc50": (82.3, _RECALLED), "dcase2014": (94.0, _RECALLED)}),
    (
        "Kinetics action labels, supervised (MC3)",
        {"ucf101": (90.5, _SEED), "hmdb51": (66.8, _RECALLED)},
    ),
)


def reference_table(data_set: str) -> str:
    """The published accuracies on a data set as a Markdown table; empty if there are none."""
    rows = [(name, figures[data_set]) for name, figures in _ROWS if data_set in figures]
    if not rows:
        return ""
    lines = [f"| published, {data_set} | accuracy (%) | known from |", "| --- | --- | --- |"]
    lines += [f"| {name} | {value:.1f} | {known} |" for name, (value, known) in rows]
    return "\n".join(lines) + "\n"
