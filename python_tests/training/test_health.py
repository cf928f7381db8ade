"""The collapse warning: at the signature of the paper, and not while a run learns."""

import json
import math
from pathlib import Path

import pytest

from avts_ext.training import PretrainConfig, loop, pretrain
from avts_ext.training.config import LossConfig
from avts_ext.training.health import collapse_warning

PAIRS, INFONCE = LossConfig(margin=1.0), LossConfig(objective="infonce")


@pytest.mark.parametrize(
    ("loss", "total", "positive", "negative", "collapsed"),
    [
        (PAIRS, 0.2507, 0.5014, 0.5015, True),
        (PAIRS, 0.2499, 0.4994, 0.4989, True),  # even a little the wrong way round
        (PAIRS, 0.2423, 0.4979, 0.5233, False),  # learning has begun
        (PAIRS, 0.3802, 0.7611, 0.7638, False),  # an untrained network on its way down
        (PAIRS, 0.1255, 0.2995, 0.7951, False),
        (LossConfig(objective="mined", margin=0.5), 0.0626, 0.25, 0.25, True),
        (INFONCE, math.log(32) + 0.01, 0.0003, 0.0003, True),
        (INFONCE, 2.58, 0.607, 0.861, False),
    ],
)
def test_signature(loss, total, positive, negative, collapsed) -> None:
    metrics = {"loss": total, "positive_distance": positive, "negative_distance": negative}
    warning = collapse_warning(metrics, loss, batch_size=32)
    assert (warning is not None) == collapsed
    if warning:
        assert f"({positive:.3f})" in warning and f"loss {total:.3f}" in warning


def test_a_collapsed_run_says_so(config: PretrainConfig, monkeypatch, capsys) -> None:
    counts = {f"{side}{kind}": 2.0 for side in ("right", "pairs") for kind in ("", "_easy")}
    counts |= {
        f"{side}{kind}": 0.0 for side in ("right", "pairs") for kind in ("_hard", "_super_hard")
    }
    distances = {"positive_distance": 1.0, "negative_distance": 1.0}  # sums over two pairs
    collapsed = {"loss": 0.25, **counts, **distances}
    monkeypatch.setattr(loop, "train_step", lambda *_: dict(collapsed))
    pretrain(config)
    said = capsys.readouterr()
    assert "epoch 1: the embeddings have collapsed: a clip is as far" in said.err
    assert "warning: the embeddings have collapsed" in said.out
    lines = (Path(config.run.out_dir) / "metrics.jsonl").read_text().splitlines()
    assert all("collapsed" in json.loads(line)["warning"] for line in lines)


def test_a_run_that_learns_is_not_accused(config: PretrainConfig) -> None:
    for metrics in pretrain(config).history:
        assert "warning" not in metrics
        assert metrics["positive_distance"] > 0 and metrics["negative_distance"] > 0
