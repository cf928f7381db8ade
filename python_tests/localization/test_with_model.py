"""The read-out and the controls on the real model, untrained: everything fits together."""

import pytest
import torch

from avts_ext.evaluation.probe import conv5_features
from avts_ext.evaluation.random_network import random_network
from avts_ext.localization.readout import locate
from avts_ext.models.avts import AVTS, AVTSConfig


@pytest.fixture(scope="module")
def recording():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (16, 64, 64, 3), generator=generator, dtype=torch.uint8)
    return frames, torch.randn(32000, generator=generator) / 10


@pytest.mark.parametrize("normalization", ["l2", "batch"])
def test_maps_do_not_depend_on_batches(recording, normalization):
    model = AVTS(AVTSConfig(normalization=normalization))
    found = locate(model, *recording, before="layer1")
    assert found.maps.shape == (8, 64, 64) and found.maps.max() > 0
    assert torch.isfinite(found.maps).all() and (found.maps >= 0).all()
    other = locate(model, *recording, before="layer1", batch_size=2)
    torch.testing.assert_close(found.maps, other.maps, rtol=1e-3, atol=1e-5 * found.maps.max())


def test_random_network_differs_in_weights_and_keeps_the_configuration(recording):
    frames, waveform = recording
    model = AVTS(AVTSConfig())
    clips, sounds = frames.unflatten(0, (2, 8)), waveform.unflatten(0, (2, 16000))
    untrained = random_network(model, clips, sounds, seed=1)
    assert untrained.config == model.config and not untrained.training
    assert not torch.equal(untrained.video.stem[0].weight, model.video.stem[0].weight)
    assert conv5_features(untrained, sounds).shape[0] == 2
