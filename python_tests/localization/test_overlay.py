from fractions import Fraction

import av
import numpy as np
import pytest
from matplotlib.image import imread

from avts_ext.localization.overlay import OverlayPainter, save_overlay_video, save_still

GREY = np.full((64, 64, 3), 128, np.uint8)
DARK = np.zeros((64, 64))
BOX = np.array([10.0, 20.0, 30.0, 50.0])
SCALE = 5  # 64 pixels become 320


def coloured(picture):
    """(64, 64) bool, whether the middle of each enlarged pixel has a colour."""
    middle = picture[SCALE // 2 : 64 * SCALE : SCALE, SCALE // 2 :: SCALE].astype(int)
    return np.ptp(middle, axis=2) > 20


def white(picture):
    return (picture[: 64 * SCALE] > 240).all(axis=2)


def test_only_what_exceeds_the_threshold_is_coloured():
    heat = DARK.copy()
    heat[3, 5], heat[40, 60], heat[7, 7] = 2.0, 1.5, 1.0
    found = coloured(OverlayPainter((64, 64), threshold=0.5).paint(GREY, heat))
    assert set(zip(*np.nonzero(found), strict=True)) == {(3, 5), (40, 60)}
    found = coloured(OverlayPainter((64, 64), threshold=0.9).paint(GREY, heat))
    assert set(zip(*np.nonzero(found), strict=True)) == {(3, 5)}


def test_a_map_without_a_positive_value_lays_nothing_over():
    assert not coloured(OverlayPainter((64, 64)).paint(GREY, DARK - 1)).any()


def test_solid_box_is_where_it_should_be():
    line = white(OverlayPainter((64, 64)).paint(GREY, DARK, source_box=BOX))
    rows, columns = np.flatnonzero(line.any(1)), np.flatnonzero(line.any(0))
    ends = [columns[0], rows[0], columns[-1], rows[-1]]
    assert ends == pytest.approx(BOX * SCALE, abs=2)
    assert line[rows[0] + 1, 50:150].all() or line[rows[0], 50:150].all()


def test_silent_box_is_dashed():
    painter = OverlayPainter((64, 64))
    solid = white(painter.paint(GREY, DARK, source_box=BOX)).sum()
    dashed = white(painter.paint(GREY, DARK, silent_box=BOX)).sum()
    assert 0.3 * solid < dashed < 0.9 * solid


def test_boxes_of_one_frame_do_not_stay_for_the_next():
    painter = OverlayPainter((64, 64))
    painter.paint(GREY, DARK, BOX, BOX)
    assert not white(painter.paint(GREY, DARK)).any()
    assert not white(painter.paint(GREY, DARK, np.zeros(4))).any()


@pytest.mark.parametrize("size", [(64, 64), (45, 80), (321, 501)])
def test_pictures_are_large_and_even(size):
    picture = OverlayPainter(size).paint(np.zeros((*size, 3), np.uint8), np.ones(size))
    assert min(picture.shape[:2]) >= 320 and picture.dtype == np.uint8
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0


def test_still_is_written_whole(tmp_path):
    picture = OverlayPainter((64, 64)).paint(GREY, DARK, BOX)
    save_still(tmp_path / "still.png", picture)
    assert [item.name for item in tmp_path.iterdir()] == ["still.png"]
    read = imread(tmp_path / "still.png")[..., :3]
    assert (np.rint(read * 255) == picture).all()


def test_video_has_every_picture_and_all_the_sound(tmp_path):
    painter = OverlayPainter((64, 64))
    shades = [40, 200, 40, 200, 40, 200]
    pictures = [painter.paint(np.full((64, 64, 3), s, np.uint8), DARK) for s in shades]
    fps = Fraction(15, 2)
    waveform = (0.5 * np.sin(np.arange(12800) * 2 * np.pi * 440 / 16000)).astype(np.float32)
    save_overlay_video(tmp_path / "overlay.mp4", iter(pictures), fps, waveform, 16000)
    assert [item.name for item in tmp_path.iterdir()] == ["overlay.mp4"]
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        frames = list(container.decode(video=0))
        assert [round(float(f.time) * fps) for f in frames] == [0, 1, 2, 3, 4, 5]
        levels = [f.to_ndarray(format="rgb24")[100, 100].mean() for f in frames]
    assert levels == pytest.approx(shades, abs=6)
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(sound) >= len(waveform)
    assert np.sqrt(np.mean(sound[2000:10000] ** 2)) == pytest.approx(0.5 / 2**0.5, rel=0.05)


def test_rejects(tmp_path):
    painter = OverlayPainter((64, 64))
    with pytest.raises(ValueError, match="frame"):
        painter.paint(GREY[:32], DARK)
    with pytest.raises(ValueError, match="heat"):
        painter.paint(GREY, DARK[:32])
    with pytest.raises(ValueError, match="threshold"):
        OverlayPainter((64, 64), threshold=1.0)
    with pytest.raises(ValueError, match="pictures"):
        save_overlay_video(tmp_path / "x.mp4", [], Fraction(8), np.zeros(10), 16000)
    assert not list(tmp_path.iterdir())
