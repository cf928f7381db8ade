import numpy as np
import pytest
import torch
from torch import nn

from avts_ext.evaluation.probe import conv5_features, draw_per_class, fit_probe, probe

CLASSES, PER_CLASS, DIM = 5, 40, 20


def world(planted: bool):
    """Noise features, with the class written large into one coordinate each if planted."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    features = rng.normal(size=(len(labels), DIM))
    if planted:
        features[np.arange(len(labels)), labels] += 20
    return features, labels


def test_planted_signal_is_found_completely():
    train, labels = world(planted=True)
    test = train[::-1] + 0.1
    result = probe(train, labels, test, labels[::-1], per_class=10)
    assert result.accuracies == (1.0, 1.0, 1.0)
    assert (result.mean, result.spread, result.n_test) == (1.0, 0.0, CLASSES * PER_CLASS)


def test_features_without_signal_give_chance():
    features, labels = world(planted=False)
    shuffled = np.random.default_rng(1).permutation(labels)
    result = probe(features, labels, features, shuffled, per_class=20)
    # Standard error of one accuracy at chance 0.2 with 200 items: 0.028.
    assert result.mean == pytest.approx(1 / CLASSES, abs=0.085)


def test_c_is_chosen_from_the_training_set_alone():
    features, labels = world(planted=True)
    one = probe(features, labels, features, labels, per_class=10)
    other = probe(features, labels, features[::2] * 0, labels[::2], per_class=10)
    assert one.chosen_c == other.chosen_c


def test_draws_are_prefixes_and_functions_of_the_seed():
    labels = np.array([0, 1] * 10)
    few, many = draw_per_class(labels, 3, seed=4), draw_per_class(labels, 6, seed=4)
    assert set(few) <= set(many) and len(set(many)) == 12
    assert (labels[few] == [0, 0, 0, 1, 1, 1]).all()
    assert (few == draw_per_class(labels, 3, seed=4)).all()
    assert set(few) != set(draw_per_class(labels, 3, seed=5))


class TwoChannels(nn.Module):
    def audio_input(self, waveform):
        return waveform.view(-1, 1, 1, waveform.shape[1])

    def audio_features(self, x):
        return torch.cat([x, -2 * x], 1)


def test_conv5_features_are_mean_then_maximum_over_time():
    waveforms = torch.tensor([[1.0, 2, 6], [0, 0, 3], [1, 1, 1]])
    expected = [[3, -6, 6, -2], [1, -2, 3, 0], [1, -2, 1, -2]]
    model = TwoChannels().train()
    for batch_size in (1, 2, 3):
        assert conv5_features(model, waveforms, batch_size).tolist() == expected
    assert model.training


def test_rejects():
    features, labels = world(planted=False)
    with pytest.raises(ValueError, match="per_class: got 41, but class 0"):
        draw_per_class(labels, 41, 0)
    with pytest.raises(ValueError, match="cross-validation"):
        fit_probe(features[:2], np.array([0, 1]))
    with pytest.raises(ValueError, match="features"):
        fit_probe(features[:3], labels)
    with pytest.raises(ValueError, match="finite"):
        fit_probe(features * np.nan, labels)
