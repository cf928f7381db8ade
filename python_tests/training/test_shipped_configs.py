"""The configurations that come with the package do what their first lines say."""

from dataclasses import replace
from pathlib import Path

import torch

from avts_ext.data import ClipSpec
from avts_ext.models.avts import AVTS
from avts_ext.training import PretrainConfig, pretrain

CONFIGS = Path(__file__).parents[2] / "configs"


def shortened(name: str, manifest: Path) -> PretrainConfig:
    """A shipped configuration on other films, one epoch to each stage of its curriculum."""
    config = PretrainConfig.from_yaml(CONFIGS / f"{name}.yaml", f"--data.root={manifest}")
    stages = tuple(replace(stage, first_epoch=i) for i, stage in enumerate(config.curriculum))
    run = replace(config.run, out_dir="run", epochs=len(stages), batch_size=4, device="cpu")
    data = replace(config.data, split=None, cache_dir=None, workers=0)
    return replace(config, data=data, curriculum=stages, run=run)


def test_super_hard_negatives_come_last(manifest: Path) -> None:
    history = pretrain(shortened("world_super_hard", manifest)).history
    kinds = ["pair_accuracy_super_hard" in metrics for metrics in history]
    assert kinds == [False, False, True]


def test_super_hard_differs_from_the_recipe_in_its_curriculum_alone() -> None:
    ours = PretrainConfig.from_yaml(CONFIGS / "world_super_hard.yaml")
    recipe = PretrainConfig.from_yaml(CONFIGS / "world.yaml")
    assert ours.curriculum[:2] == recipe.curriculum
    run = replace(ours.run, out_dir=recipe.run.out_dir)
    assert replace(ours, curriculum=recipe.curriculum, run=run) == recipe


def test_the_recipe_of_the_paper(manifest: Path) -> None:
    config = PretrainConfig.from_yaml(CONFIGS / "paper_kinetics.yaml")
    clip = config.model.clip
    assert (clip.n_frames, clip.duration_s, clip.height, clip.width) == (25, 1.0, 224, 224)
    assert (config.loss.objective, config.loss.margin) == ("pairs", 0.99)
    model = AVTS(config.model)
    video_weights = sum(weight.numel() for weight in model.video.parameters())
    assert video_weights == 11_695_440 - 400 * 513  # torchvision's mc3_18 without its classifier
    with torch.no_grad():
        log_mel = model.audio_input(torch.randn(2, clip.n_samples))
        assert log_mel.shape == (2, 1, 40, 100)
        frames = torch.randint(0, 256, (2, 3, 56, 56, 3), dtype=torch.uint8)
        assert model.embed_video(frames).shape == (2, 256)

    small = replace(config.model, clip=ClipSpec(n_frames=2, fps=8, height=32, width=32))
    result = pretrain(replace(shortened("paper_kinetics", manifest), model=small))
    assert "pair_accuracy_hard" in result.history[-1]
