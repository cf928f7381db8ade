from types import SimpleNamespace

import pytest
import torch
from torch import nn

from avts_ext.localization import audio_cam, grad_cam
from avts_ext.models.avts import AVTS, AVTSConfig


class Pass(nn.Module):
    """Hands its input on; something for a hook to hold on to."""

    def forward(self, x):
        return x


def model_of(features):
    """A model whose video tower has these features and an embedding axis per channel and step."""
    return SimpleNamespace(
        video=(tower := Pass()),
        video_input=lambda frames: features,
        video_features=tower,
        project_video=lambda x: x.amax((3, 4)).flatten(1),
    )


def fixture():
    """Two time steps, two channels; channel 0 speaks at the left, channel 1 at the right."""
    features = torch.zeros(1, 2, 2, 1, 2)
    features[0, 0, :, 0, 0] = 3
    features[0, 1, :, 0, 1] = 2
    return features


FRAMES = torch.zeros(1, 1, 1, 1, 3)
AUDIO = torch.tensor([[4.0, -1, -1, 6]])  # channel 0: steps 0, 1; channel 1: steps 0, 1


def test_by_hand_with_weights_per_time_step():
    # The sound agrees with channel 0 in step 0 and with channel 1 in step 1, against the other.
    # Gradient of a maximum is the audio value at one of two cells: mean audio / 2.
    expected = [[[3 * 4 / 2, 0]], [[0, 2 * 6 / 2]]]
    assert grad_cam(model_of(fixture()), FRAMES, AUDIO)[0].tolist() == expected
    signed = [[[3 * 4 / 2, 2 * -1 / 2]], [[3 * -1 / 2, 2 * 6 / 2]]]
    assert grad_cam(model_of(fixture()), FRAMES, AUDIO, signed=True)[0].tolist() == signed


def test_works_without_gradients_and_leaves_the_features_alone():
    features = fixture()
    with torch.no_grad():
        maps = grad_cam(model_of(features), FRAMES, torch.ones(1, 4))
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert not maps.requires_grad and not features.requires_grad and maps.sum() > 0


@pytest.fixture(scope="module")
def model():
    return AVTS(AVTSConfig()).eval()


@pytest.fixture(scope="module")
def clips():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (3, 8, 64, 64, 3), generator=generator, dtype=torch.uint8)
    return frames, torch.randn(3, 16000, generator=generator) / 10


def test_items_of_a_batch_and_sounds_do_not_meet(model, clips):
    frames, audio = clips[0], torch.randn(3, 2, 128)
    together = grad_cam(model, frames, audio)
    assert together.shape == (3, 2, 4, 8, 8)
    for item in range(3):
        for sound in range(2):
            alone = grad_cam(model, frames[item : item + 1], audio[item : item + 1, sound])
            torch.testing.assert_close(together[item, sound], alone[0], rtol=1e-3, atol=1e-4)


def test_signed_maps_are_linear_in_the_sound(model, clips):
    first, second = torch.randn(2, 3, 128)

    def maps(audio):
        return grad_cam(model, clips[0], audio, signed=True)

    torch.testing.assert_close(
        maps(first - 2 * second), maps(first) - 2 * maps(second), rtol=1e-3, atol=1e-3
    )


def test_no_parameter_gets_a_gradient(model, clips):
    grad_cam(model, clips[0], torch.randn(3, 128))
    audio_cam(model, clips[1], torch.randn(3, 128))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("layer, size", [("layer1", 16), ("layer1.1", 16), ("layer3.0", 8)])
def test_any_layer_in_or_out_of_place(model, clips, layer, size):
    audio = torch.randn(3, 128)
    maps = grad_cam(model, clips[0], audio, layer=layer)
    assert maps.shape == (3, 4, size, size) and maps.max() > 0
    # By autograd on the model cut in two at that layer.
    names = [name for name, _ in model.video.named_modules()]
    last = [name for name in names if name.startswith(layer)][-1]
    x, leaf = model.video_input(clips[0]), None
    for name, module in model.video.named_modules():
        if list(module.children()):
            continue
        x = module(x)
        if name == last:
            leaf = x = x.detach().requires_grad_()
            x = x.clone()
    (gradient,) = torch.autograd.grad((model.project_video(x) * audio).sum(), leaf)
    expected = (gradient.mean((3, 4), keepdim=True) * leaf).sum(1).relu()
    torch.testing.assert_close(maps, expected.detach(), rtol=1e-3, atol=1e-5)


def test_audio_direction(model, clips):
    video = torch.randn(3, 128)
    maps = audio_cam(model, clips[1], video)
    assert maps.shape == (3, 5, 12) and (maps >= 0).all() and maps.max() > 0
    features = model.audio_features(model.audio_input(clips[1])).detach().requires_grad_()
    (gradient,) = torch.autograd.grad((model.project_audio(features) * video).sum(), features)
    expected = (gradient.mean(2, keepdim=True) * features).sum(1).relu()
    torch.testing.assert_close(maps, expected.detach(), rtol=1e-3, atol=1e-5)
    assert audio_cam(model, clips[1], video[:, None], layer="conv3").shape[:2] == (3, 1)


def test_rejects(model, clips):
    with pytest.raises(ValueError, match="frames"):
        grad_cam(model, clips[0][0], torch.zeros(3, 128))
    with pytest.raises(ValueError, match=r"embeddings: got shape \(3, 3\), expected \(3, 128\)"):
        grad_cam(model, clips[0], torch.zeros(3, 3))
    with pytest.raises(AttributeError):
        grad_cam(model, clips[0], torch.zeros(3, 128), layer="layer9")
