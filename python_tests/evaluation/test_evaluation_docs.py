"""The Python example of docs/evaluation.md runs as it stands."""

import re
from pathlib import Path

import torch

from avts_ext.models.avts import AVTS, AVTSConfig

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()


def test_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    Path("runs/world").mkdir(parents=True)
    AVTS(AVTSConfig()).save("runs/world/best.safetensors")
    names = {
        "waveform": torch.zeros(2, 16000),
        "frames": torch.zeros(2, 8, 64, 64, 3, dtype=torch.uint8),
    }
    exec(example, names)
    assert names["conv5"].shape == (2, 64, 5, 12) and names["last_map"].shape == (2, 64, 4, 8, 8)
