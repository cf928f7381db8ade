import pytest
import torch

from avts_ext.localization.cam import grad_cam


def pooled(features):
    """One embedding axis per channel and time step: the maximum over the picture."""
    return features.amax((3, 4)).flatten(1)


def fixture():
    """Two time steps, two channels; channel 0 speaks at the left, channel 1 at the right."""
    features = torch.zeros(1, 2, 2, 1, 2)
    features[0, 0, :, 0, 0] = 3
    features[0, 1, :, 0, 1] = 2
    return features


def test_by_hand_with_weights_per_time_step():
    # The sound agrees with channel 0 in step 0 and with channel 1 in step 1, against the other.
    audio = torch.tensor([[4.0, -1, -1, 6]])  # channel 0: steps 0, 1; channel 1: steps 0, 1
    # Gradient of a maximum is the audio value at one of two cells: mean audio / 2.
    expected = [[[3 * 4 / 2, 0]], [[0, 2 * 6 / 2]]]
    assert grad_cam(fixture(), pooled, audio)[0].tolist() == expected


def test_works_without_gradients_and_leaves_the_features_alone():
    features = fixture()
    with torch.no_grad():
        maps = grad_cam(features, pooled, torch.ones(1, 4))
    assert not maps.requires_grad and not features.requires_grad and maps.sum() > 0


def test_items_of_a_batch_do_not_meet():
    features, audio = torch.rand(3, 2, 2, 4, 4), torch.randn(3, 4)
    together = grad_cam(features, pooled, audio)
    alone = torch.cat([grad_cam(features[k : k + 1], pooled, audio[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, alone)


def test_rejects():
    with pytest.raises(ValueError, match="features"):
        grad_cam(torch.zeros(2, 3), pooled, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"audio: got shape \(1, 3\), expected \(1, 4\)"):
        grad_cam(fixture(), pooled, torch.ones(1, 3))
