from types import SimpleNamespace

import pytest
import torch
from torch import nn

from avts_ext.data.clips import ClipSpec
from avts_ext.evaluation.finetune import FinetuneConfig, finetune

QUICK = FinetuneConfig(steps=40, batch_size=8, tower_lr=1e-2, classifier_lr=3e-2)


class Tower(nn.Conv3d):
    out_channels = 6


class Fake(nn.Module):
    config = SimpleNamespace(clip=ClipSpec(n_frames=4, fps=8, height=8, width=8))

    def __init__(self):
        super().__init__()
        self.video = Tower(3, 6, (1, 4, 4), (1, 4, 4))

    def video_input(self, frames):
        return frames.permute(0, 4, 1, 2, 3) / 255

    def video_features(self, x):
        return self.video(x).relu()


def colours(n, seed):
    """Noise with the class in one colour channel."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    frames = torch.randint(0, 100, (n, 6, 8, 8, 3), generator=generator, dtype=torch.uint8)
    frames[torch.arange(n), :, :, :, labels] += 150
    return frames, labels


def test_a_visible_class_is_learned_and_the_model_is_left_alone():
    model = Fake()
    before = [parameter.clone() for parameter in model.parameters()]
    state = torch.random.get_rng_state()
    result = finetune(model, *colours(12, 0), *colours(30, 1), config=QUICK)
    assert (result.accuracy, result.n_test) == (1.0, 30)
    assert result.interval[0] < 1.0 and result.interval[1] == 1.0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


def test_labels_without_meaning_give_chance():
    frames, labels = colours(60, 0)
    test_frames, test_labels = colours(300, 1)
    shuffled = test_labels[torch.randperm(300, generator=torch.Generator().manual_seed(2))]
    result = finetune(Fake(), frames, labels, test_frames, shuffled, config=QUICK)
    # Standard error at chance 1/3 with 300 items: 0.027.
    assert result.accuracy == pytest.approx(1 / 3, abs=0.085)


def test_a_result_is_a_function_of_the_seed():
    model, short = Fake(), FinetuneConfig(steps=2, batch_size=4)
    sets = (*colours(12, 0), *colours(60, 1))
    results = [finetune(model, *sets, config=short, seed=s).accuracy for s in (0, 0, 1, 2, 3)]
    assert results[0] == results[1] and len(set(results)) > 1


def test_rejects():
    frames, labels = colours(6, 0)
    with pytest.raises(ValueError, match="train_frames"):
        finetune(Fake(), frames[:, :3], labels, frames, labels)
    with pytest.raises(ValueError, match="test_frames"):
        finetune(Fake(), frames, labels, frames, labels[:5])
