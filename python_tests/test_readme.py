"""The README's Python examples run as they stand."""

import re
from pathlib import Path

import pytest

from avts_ext.models.avts import AVTS
from avts_ext.training.config import PretrainConfig
from avts_ext.world import generate

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def after_pretraining(tmp_path, monkeypatch):
    """A folder that holds what the README's shell commands leave, in small and untrained."""
    monkeypatch.chdir(tmp_path)
    generate("world", videos=1, seed=1, progress=False)
    Path("runs/world").mkdir(parents=True)
    config = PretrainConfig.from_yaml(ROOT / "configs" / "world.yaml")
    AVTS(config.model).save("runs/world/best.safetensors")


def test_the_readme_has_its_examples():
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs(example, after_pretraining):
    exec(example, {})
