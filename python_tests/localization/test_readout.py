from types import SimpleNamespace

import pytest
import torch
from torch import nn

from avts_ext.data.clips import ClipSpec
from avts_ext.evaluation.random_network import random_network
from avts_ext.localization import readout
from avts_ext.localization.controls import centre_maps
from avts_ext.localization.geometry import CellGrid
from avts_ext.localization.readout import (
    SoundMaps,
    agreement,
    average_windows,
    blur,
    contrast_embeddings,
    locate_sources,
    similarity,
    track,
)

CLIP = ClipSpec(n_frames=4, fps=8, height=16, width=16, sample_rate=800)


class Fake(nn.Module):
    """Sees red and green, hears the sign of the sound: positive is red, negative green.

    Two frames make a time step, eight by eight pixels with an odd kernel a cell. An embedding is
    (channel, time step).
    """

    def __init__(self, config=None):
        super().__init__()
        self.config = config or SimpleNamespace(clip=CLIP)
        self.video = nn.Sequential(nn.Conv3d(3, 2, 1, bias=False), nn.Conv3d(2, 2, 1, (2, 4, 4)))
        self.norm = nn.BatchNorm1d(4)

    def paint(self):
        self.video[0].weight.data = torch.eye(2, 3).view(2, 3, 1, 1, 1)
        self.video[1].weight.data = torch.eye(2).view(2, 2, 1, 1, 1)
        self.video[1].bias.data.zero_()
        return self

    def video_input(self, frames):
        return frames.permute(0, 4, 1, 2, 3) / 255

    def video_features(self, x):
        return self.video(x)

    def project_video(self, features):
        return features.amax((3, 4)).flatten(1)

    def embed_audio(self, waveform):
        steps = waveform.view(len(waveform), 2, -1).mean(2)
        return torch.cat([steps.relu(), (-steps).relu()], 1)

    def embed_video(self, frames):
        return self.norm(self.project_video(self.video_features(self.video_input(frames))))


def scene():
    """Two seconds. Red at cell (1, 0), green, brighter, at cell (2, 3), both all the time."""
    frames = torch.zeros(16, 16, 16, 3, dtype=torch.uint8)
    frames[:, 2:7, 0:3, 0] = 150
    frames[:, 6:11, 10:15, 1] = 250
    return frames


def locate(*arguments, **options):
    """Without contrast, unless a test asks for it: most sounds here are the same at all times."""
    return readout.locate(*arguments, **{"contrast": False, **options})


def peaks(found):
    flat = found.maps.flatten(1).argmax(1)
    return [(int(k) // 16, int(k) % 16) for k in flat]


@pytest.mark.parametrize("sign, peak", [(1, (4, 0)), (-1, (8, 12))])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_points_at_what_is_heard(sign, peak, batch_size):
    model = Fake().paint().train()
    waveform = sign * torch.ones(1600)
    found = locate(model, scene(), waveform, blur_sigma_px=0, batch_size=batch_size)
    assert peaks(found) == [peak] * 8
    assert found.times_s.tolist() == [k / 4 for k in range(8)]
    assert model.training


@pytest.mark.parametrize("batch_size", [1, 32])
def test_agreement_by_hand(batch_size):
    model = Fake().paint()
    model.norm = nn.Identity()
    # Red is 150, green 250, in both time steps; a steady sound is (1, 1, 0, 0) or (0, 0, 1, 1).
    sounds = [torch.ones(1600), -torch.ones(1600)]
    red, green = agreement(model, scene(), sounds, batch_size=batch_size)
    length = (2 * (150**2 + 250**2)) ** 0.5
    assert red == pytest.approx(2 * 150 / (length * 2**0.5), rel=1e-5)
    assert green == pytest.approx(2 * 250 / (length * 2**0.5), rel=1e-5)
    with pytest.raises(ValueError, match="waveform"):
        agreement(model, scene(), [torch.zeros(1599)])


def test_without_sound_points_at_the_brightest():
    assert peaks(locate(Fake().paint(), scene(), None, blur_sigma_px=0)) == [(8, 12)] * 8


def test_sound_and_picture_are_cut_at_the_same_time():
    # The sound turns from red to green after one second, between time steps 3 and 4.
    waveform = torch.ones(1600)
    waveform[800:] = -1
    found = locate(Fake().paint(), scene(), waveform, track_sigma_s=0, blur_sigma_px=0)
    assert peaks(found) == [(4, 0)] * 4 + [(8, 12)] * 4


def test_tracking_fills_silence_from_neighbours():
    waveform = torch.zeros(1600)
    waveform[:200] = 1
    bare = locate(Fake().paint(), scene(), waveform, track_sigma_s=0, blur_sigma_px=0)
    assert [bool(m.any()) for m in bare.maps] == [True] + [False] * 7
    assert peaks(locate(Fake().paint(), scene(), waveform, blur_sigma_px=0)) == [(4, 0)] * 8


def test_contrast_finds_what_moves_with_the_sound():
    """Both objects are there and their kind is heard all the time; the red one is in step."""
    frames = torch.zeros(48, 16, 16, 3, dtype=torch.uint8)
    flicker = torch.tensor([[250.0, 50], [50, 250]]).repeat(12, 1).repeat_interleave(2, 0)
    lit = torch.rand(24).repeat_interleave(2) > 0.5
    frames[:, 2:7, 0:3, 0] = torch.where(lit, 150, 40)[:, None, None].to(torch.uint8)
    frames[:, 2:7, 10:15, 0] = flicker.flatten()[:48, None, None].to(torch.uint8)
    waveform = torch.where(lit, 1.0, 0.2).repeat_interleave(100)
    options = {"blur_sigma_px": 0, "track_sigma_s": 2.0}
    assert peaks(locate(Fake().paint(), frames, waveform, **options))[5:-5] == [(4, 12)] * 14
    found = locate(Fake().paint(), frames, waveform, contrast=True, **options)
    assert peaks(found)[5:-5] == [(4, 0)] * 14


def test_with_contrast_a_sound_that_never_changes_says_nothing():
    found = locate(Fake().paint(), scene(), torch.ones(1600), contrast=True)
    assert not found.maps.any()


def test_contrast_by_hand():
    # Clips 0.5 s apart: those 0.5 to 1.5 s away are the three on either side.
    sounds = torch.tensor([1.0, 2, 4, 8, 16])[:, None]
    expected = [1 - (2 + 4 + 8) / 3, 2 - (1 + 4 + 8 + 16) / 4, 4 - (1 + 2 + 8 + 16) / 4]
    assert contrast_embeddings(sounds, 0.5)[:3, 0].tolist() == pytest.approx(expected)
    # 0.25 s apart, the two direct neighbours have none, and are left as they are.
    assert contrast_embeddings(sounds[:2], 0.25)[:, 0].tolist() == [1, 2]


def test_several_sounds_are_as_each_alone():
    frames, loud = scene(), torch.randn(1600)
    together = locate_sources(Fake().paint(), frames, [loud, None, -loud])
    for found, waveform in zip(together, [loud, None, -loud], strict=True):
        alone = locate(Fake().paint(), frames, waveform, contrast=True)
        torch.testing.assert_close(found.maps, alone.maps)
        assert torch.equal(found.times_s, alone.times_s)


def test_averaging_over_shifts_blurs_the_sound_in_time():
    waveform = torch.zeros(1600)
    waveform[400:500] = 1
    options = {"track_sigma_s": 0, "blur_sigma_px": 0}
    sharp = locate(Fake().paint(), scene(), waveform, **options)
    smooth = locate(Fake().paint(), scene(), waveform, shift_sigma_s=0.1, **options)
    assert sharp.maps[3].max() == 0 and smooth.maps[3].max() > 0


def test_any_layer():
    found = locate(Fake().paint(), scene(), torch.ones(1600), layer="0", blur_sigma_px=0)
    # The first layer keeps every frame and pixel.
    assert len(found.maps) == 16 and found.times_s[1] == 1 / 8
    assert found.maps[0, 4, 1] > 0 and found.maps[0, 4, 3] == 0
    with pytest.raises(ValueError, match="got 'layer9', expected the name of a submodule"):
        locate(Fake().paint(), scene(), torch.ones(1600), layer="layer9")


def test_an_earlier_layer_sharpens_the_map():
    waveform = torch.ones(1600)
    plain = locate(Fake().paint(), scene(), waveform, blur_sigma_px=0).maps[0]
    sharp = locate(Fake().paint(), scene(), waveform, before="0", blur_sigma_px=0).maps[0]
    # Pixel (4, 3) is black, beside the red square: the coarse map bleeds into it.
    assert plain[4, 3] > 0 and sharp[4, 3] == 0
    assert sharp[4, 2] / sharp.max() == pytest.approx((plain[4, 2] / plain.max()).item(), rel=1e-2)


class Low(nn.Module):
    def forward(self, x):
        return x.roll(1, 3)


class Below(Fake):
    """Sees everything one cell too low."""

    def __init__(self):
        super().__init__()
        self.video.append(Low())


def test_mirror_images_cancel_a_bias_to_one_side():
    frames = torch.zeros(16, 16, 16, 3, dtype=torch.uint8)
    frames[:, 7:10, 7:10, 0] = 200  # at the middle, a cell's centre and its own mirror image
    waveform, model = torch.ones(1600), Below().paint()
    rows = torch.arange(16.0)

    def centre_of_mass(mirror):
        maps = locate(model, frames, waveform, mirror=mirror, blur_sigma_px=0).maps[0]
        return float((maps.sum(1) * rows).sum() / maps.sum())

    unbiased = float(rows.mean())
    assert centre_of_mass("none") > unbiased + 2
    assert centre_of_mass("vertical") == pytest.approx(unbiased, abs=1e-4)
    assert centre_of_mass("both") == pytest.approx(unbiased, abs=1e-4)


def test_mirror_images_of_nothing_are_nothing():
    found = locate(Fake().paint(), scene(), torch.zeros(1600), mirror="both", blur_sigma_px=0)
    assert found.maps.isfinite().all() and not found.maps.any()


def test_nearest_map():
    found = SoundMaps(torch.arange(3.0).view(3, 1, 1), torch.tensor([0, 0.25, 0.5]).double())
    times_s = torch.tensor([0.1, 0.15, 0.25, 9.0])
    assert found.nearest(times_s).flatten().tolist() == [0, 1, 1, 2]


def test_average_windows_by_hand():
    values = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    assert average_windows(values).tolist() == [1, (2 + 4) / 2, (3 + 5) / 2, 6]


def test_gaussians():
    flat = torch.ones(5, 4, 6)
    torch.testing.assert_close(track(flat, 1.8), flat)
    torch.testing.assert_close(blur(flat, 2.0), flat)
    impulse = torch.zeros(21, 1, 1)
    impulse[10] = 1
    spread = track(impulse, 2.0).flatten()
    assert (spread[12] / spread[10]).item() == pytest.approx(2.71828**-0.5, rel=1e-3)
    assert (track(impulse, 0) == impulse).all()
    point = torch.zeros(1, 21, 21)
    point[0, 10, 10] = 1
    blurred = blur(point, 1.0)[0]
    assert blurred[11, 11] / blurred[10, 10] == pytest.approx(2.71828**-1, rel=1e-3)


def test_similarity_by_hand():
    # One moment, 1 x 4 cells of 1 pixel: the map points at cell 0; mean feature (0, 0).
    features = torch.tensor([[1.0, -1, 1, -1], [1, -1, -1, 1]]).view(1, 2, 1, 4)
    maps = torch.tensor([1.0, 0, 0, 0]).view(1, 1, 4)
    found = similarity(maps, features, CellGrid((1, 1, 1), (0, 0, 0)))
    assert found.flatten().tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)


def test_rejects():
    with pytest.raises(ValueError, match="frames"):
        locate(Fake(), scene()[:3], None)
    with pytest.raises(ValueError, match="waveform"):
        locate(Fake(), scene(), torch.zeros(1599))
    with pytest.raises(ValueError, match=r"waveform: got shape \(2, 1600\)"):
        locate(Fake(), scene(), torch.zeros(2, 1600))
    with pytest.raises(ValueError, match="waveforms: got none"):
        locate_sources(Fake(), scene(), [])
    with pytest.raises(ValueError, match="mirror: got 'left'"):
        locate(Fake(), scene(), None, mirror="left")
    with pytest.raises(ValueError, match="blur_sigma_px"):
        locate(Fake(), scene(), None, blur_sigma_px=-1)


def test_random_network_has_learned_nothing_but_statistics():
    model = Fake().paint()
    frames = torch.randint(0, 256, (8, 4, 16, 16, 3), dtype=torch.uint8)
    before = torch.random.get_rng_state()
    untrained = random_network(model, frames, torch.zeros(8, 400), seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    again = random_network(model, frames, torch.zeros(8, 400), seed=1)
    other = random_network(model, frames, torch.zeros(8, 400), seed=2)
    weight = untrained.video[0].weight
    assert torch.equal(weight, again.video[0].weight)
    assert not torch.equal(weight, other.video[0].weight)
    assert not torch.equal(weight, model.video[0].weight)
    pooled = untrained.project_video(untrained.video_features(untrained.video_input(frames)))
    torch.testing.assert_close(untrained.norm.running_mean, pooled.mean(0))
    assert not any(module.training for module in untrained.modules())
    assert untrained.norm.momentum == 0.1


def test_centre_maps_point_at_the_centre():
    maps = centre_maps(2, (65, 33))
    assert maps.shape == (2, 65, 33) and int(maps[1].argmax()) == 32 * 33 + 16
    assert centre_maps(1, (71, 71))[0, 35, 45] == pytest.approx(0.5, abs=0.01)
