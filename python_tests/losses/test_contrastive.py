import doctest

import pytest
import torch

from avts_ext import SyncContrastiveLoss
from avts_ext.losses import contrastive
from avts_ext.ops import sync_contrastive_loss


def test_example_runs():
    result = doctest.testmod(contrastive)
    assert result.attempted >= 4
    assert result.failed == 0


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "margin", "mining": "hardest", "margin": 0.7},
        {"objective": "margin", "mining": "all", "negatives": ("easy",)},
        {"objective": "infonce", "mining": "all", "temperature": 0.2},
    ],
)
def test_is_the_function_with_its_options(options):
    video, audio = torch.randn(2, 6, 8)
    ids, starts_s = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 2, 0, 0.5, 0, 9])
    windows = {"video_ids": ids, "audio_ids": ids}
    windows |= {"video_start_s": starts_s, "audio_start_s": starts_s}
    module = SyncContrastiveLoss(**options)
    assert torch.equal(
        module(video, audio, **windows), sync_contrastive_loss(video, audio, **options, **windows)
    )
    assert not list(module.parameters())


def test_row_i_belongs_to_row_i_by_default():
    video, audio = torch.randn(2, 6, 8)
    rows = torch.arange(6)
    loss = SyncContrastiveLoss()
    assert torch.equal(loss(video, audio), loss(video, audio, rows, rows))


def test_options_of_a_call_win():
    video, audio = torch.randn(2, 6, 8)
    ids, starts_s = torch.arange(6) // 2, torch.arange(6) % 2 * 5.0
    windows = (ids, ids, starts_s, starts_s)
    curriculum = SyncContrastiveLoss(negatives=("easy",), margin=3.0)
    second_stage = curriculum(video, audio, *windows, negatives={"easy": 0.75, "hard": 0.25})
    assert not torch.equal(second_stage, curriculum(video, audio, *windows))
    expected = SyncContrastiveLoss(negatives={"easy": 0.75, "hard": 0.25}, margin=3.0)
    assert torch.equal(second_stage, expected(video, audio, *windows))


def test_learned_temperature_follows_its_gradient():
    video = torch.nn.functional.normalize(torch.randn(8, 4))
    loss = SyncContrastiveLoss("infonce", temperature=0.5, learn_temperature=True)
    before = loss(video, video)
    before.backward()
    assert loss.log_temperature.grad > 0  # what is in step wants sharper logits
    with torch.no_grad():
        loss.log_temperature -= 0.1 * loss.log_temperature.grad
    assert loss(video, video) < before


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "hinge"},
        {"mining": "medium_hard"},
        {"margin": -1.0},
        {"temperature": 0.0},
        {"negatives": ("soft",)},
        {"clip_s": 0.0},
        {"learn_temperature": True},
    ],
)
def test_options_are_checked_at_construction(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SyncContrastiveLoss(**options)
