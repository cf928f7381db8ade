from fractions import Fraction

import numpy as np
import pytest
import torch

from avts_ext.data import ClipSpec, MediaReader, probe
from avts_ext.data.writer import encode_mp4
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.sync_report.windows import embed_windows
from avts_ext.world import generate


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("w") / "w", 1, seed=3, progress=False)


def embed(path, model=None, **options):
    info = probe(path)
    with MediaReader(path) as reader:
        return embed_windows(
            model or AVTS(AVTSConfig()).eval(),
            reader,
            info.start_s,
            info.duration_s,
            file_fps=info.video.fps,
            **options,
        )


def test_windows_are_those_of_the_reader(world):
    path, model = world / "videos/000000.mp4", AVTS(AVTSConfig()).eval()
    seen = embed(path, model)
    assert len(seen.video) == len(seen.audio) / 2 == 80 and seen.step_s == 1 / 32
    spec = ClipSpec()
    with MediaReader(path) as reader, torch.no_grad():
        frames, _ = reader.read_frames(Fraction(33, 16), spec)
        waveform, _ = reader.read_audio(Fraction(35, 32), 1, 16000)
        np.testing.assert_allclose(model.embed_video(frames[None])[0], seen.video[33], atol=1e-5)
        np.testing.assert_allclose(model.embed_audio(waveform[None])[0], seen.audio[35], atol=1e-5)
    rms_db = 20 * waveform.square().mean().sqrt().log10()
    assert seen.level_db[35] == pytest.approx(float(rms_db), abs=1e-3)
    motion = frames.float().diff(dim=0).abs().mean()
    assert seen.motion[33] == pytest.approx(float(motion), rel=1e-4)


@pytest.mark.parametrize("piece_s", [0.1, 1, 3.3])
def test_pieces_do_not_matter(world, piece_s):
    path, model = world / "videos/000000.mp4", AVTS(AVTSConfig()).eval()
    whole, pieces = embed(path, model), embed(path, model, piece_s=piece_s)
    for name in ("video", "audio", "video_features", "motion", "level_db"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), atol=1e-4)
    assert pieces.lead_s == pytest.approx(whole.lead_s)


@pytest.mark.parametrize("fps, lead_s", [(16, 1 / 32), (8, 1 / 32), (32, 1 / 64)])
def test_lead_is_the_middle_of_the_time_on_display(tmp_path, fps, lead_s):
    """At 8 fps every other request, 1/16 s apart, meets a frame that is half over."""
    frames = [np.full((64, 64, 3), 9 * k % 200, np.uint8) for k in range(3 * fps)]
    (tmp_path / "a.mp4").write_bytes(encode_mp4(frames, fps, np.zeros(48000), 16000))
    assert embed(tmp_path / "a.mp4").lead_s == pytest.approx(lead_s, abs=2e-3)


def test_too_short_is_refused(tmp_path):
    frames = [np.zeros((64, 64, 3), np.uint8)] * 16
    (tmp_path / "a.mp4").write_bytes(encode_mp4(frames, 16, np.zeros(16000), 16000))
    with pytest.raises(ValueError, match=r"last 1\.00 s together, expected at least 1\.06 s"):
        embed(tmp_path / "a.mp4")
