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
RATE = 16000
SILENCE = np.zeros(6 * RATE, np.float32)


def painter_of(size=(64, 64), sound=SILENCE, **options):
    return OverlayPainter(size, sound, RATE, **options)


def coloured(picture):
    """(64, 64) bool, whether the middle of each enlarged pixel has a colour."""
    middle = picture[SCALE // 2 : 64 * SCALE : SCALE, SCALE // 2 :: SCALE].astype(int)
    return np.ptp(middle, axis=2) > 20


def white(picture):
    return (picture[: 64 * SCALE] > 240).all(axis=2)


def test_only_what_exceeds_the_threshold_is_coloured():
    heat = DARK.copy()
    heat[3, 5], heat[40, 60], heat[7, 7] = 2.0, 1.5, 1.0
    found = coloured(painter_of(threshold=0.5).paint(GREY, heat, 0.0))
    assert set(zip(*np.nonzero(found), strict=True)) == {(3, 5), (40, 60)}
    found = coloured(painter_of(threshold=0.9).paint(GREY, heat, 0.0))
    assert set(zip(*np.nonzero(found), strict=True)) == {(3, 5)}


def test_a_map_without_a_positive_value_lays_nothing_over():
    assert not coloured(painter_of().paint(GREY, DARK - 1, 0.0)).any()


def test_solid_box_is_where_it_should_be():
    line = white(painter_of().paint(GREY, DARK, 0.0, source_box=BOX))
    rows, columns = np.flatnonzero(line.any(1)), np.flatnonzero(line.any(0))
    ends = [columns[0], rows[0], columns[-1], rows[-1]]
    assert ends == pytest.approx(BOX * SCALE, abs=2)
    assert line[rows[0] + 1, 50:150].all() or line[rows[0], 50:150].all()


def test_silent_box_is_dashed():
    painter = painter_of()
    solid = white(painter.paint(GREY, DARK, 0.0, source_box=BOX)).sum()
    dashed = white(painter.paint(GREY, DARK, 0.0, silent_box=BOX)).sum()
    assert 0.3 * solid < dashed < 0.9 * solid


def test_boxes_of_one_frame_do_not_stay_for_the_next():
    painter = painter_of()
    painter.paint(GREY, DARK, 0.0, BOX, BOX)
    assert not white(painter.paint(GREY, DARK, 0.0)).any()
    assert not white(painter.paint(GREY, DARK, 0.0, np.zeros(4))).any()


@pytest.mark.parametrize("size", [(64, 64), (45, 80), (321, 501)])
def test_pictures_are_large_and_even(size):
    picture = painter_of(size).paint(np.zeros((*size, 3), np.uint8), np.ones(size), 0.0)
    assert min(picture.shape[:2]) >= 320 and picture.dtype == np.uint8
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0


def panel_of(picture):
    return picture[64 * SCALE :].astype(int)


def test_playhead_stands_at_the_time_of_the_frame():
    painter = painter_of()
    columns = []
    for time_s in (0.0, 1.5, 6.0):
        # Of the whole panel, only the playhead is black over the height of the envelope.
        black = (panel_of(painter.paint(GREY, DARK, time_s))[24:50] < 60).all(axis=(0, 2))
        columns.append(np.flatnonzero(black).mean())
    start, quarter, end = columns
    assert quarter == pytest.approx(start + (end - start) / 4, abs=1)
    assert 0 < start < 25 and 320 - 25 < end < 320


def test_envelope_is_high_where_the_sound_is_loud_whatever_its_level():
    heights = {}
    for level in (0.9, 0.001):
        sound = SILENCE.copy()
        sound[2 * RATE : 4 * RATE] = level * np.sin(np.arange(2 * RATE))
        panel = panel_of(painter_of(sound=sound).paint(GREY, DARK, 0.0))
        heights[level] = (panel[22:50, 30:290].max(axis=2) < 200).sum(axis=0)
    assert (heights[0.9] == heights[0.001]).all()
    loud = heights[0.9] > 20
    assert np.flatnonzero(loud).mean() == pytest.approx(130, abs=2)  # the middle
    assert loud.mean() == pytest.approx(2 / 6 * 284 / 260, abs=0.02)
    assert heights[0.9][~loud].max() <= 2


def test_scale_shows_the_colours_of_the_map():
    panel = panel_of(painter_of().paint(GREY, DARK, 0.0))
    row = panel[np.ptp(panel, axis=2).max(axis=1).argmax()]
    coloured = row[np.ptp(row, axis=1) > 40]
    assert coloured[1] == pytest.approx([68, 2, 86], abs=12)  # both ends of viridis
    assert coloured[-2] == pytest.approx([253, 231, 37], abs=12)


@pytest.mark.parametrize("size", [(64, 64), (45, 80), (321, 501)])
@pytest.mark.parametrize("duration_s", [0.6, 6, 10, 125, 900])
def test_nothing_below_the_picture_is_cut_off(size, duration_s):
    sound = np.ones(round(duration_s * RATE), np.float32)
    painter = painter_of(size, sound, threshold=0.125)
    height = size[0] * -(-320 // min(size))
    for time_s in (0.0, duration_s):
        picture = painter.paint(np.zeros((*size, 3), np.uint8), np.ones(size), time_s)
        panel = picture[height + 1 :]
        for edge in (panel[:2], panel[-2:], panel[:, :2], panel[:, -2:]):
            assert (edge == 255).all()


def test_still_is_written_whole(tmp_path):
    picture = painter_of().paint(GREY, DARK, 0.0, BOX)
    save_still(tmp_path / "still.png", picture)
    assert [item.name for item in tmp_path.iterdir()] == ["still.png"]
    read = imread(tmp_path / "still.png")[..., :3]
    assert (np.rint(read * 255) == picture).all()


def test_video_has_every_picture_and_all_the_sound(tmp_path):
    painter = painter_of()
    shades = [40, 200, 40, 200, 40, 200]
    pictures = [painter.paint(np.full((64, 64, 3), s, np.uint8), DARK, 0.0) for s in shades]
    fps = Fraction(15, 2)
    waveform = (0.5 * np.sin(np.arange(12800) * 2 * np.pi * 440 / 16000)).astype(np.float32)
    save_overlay_video(tmp_path / "overlay.mp4", iter(pictures), fps, waveform, RATE)
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
    painter = painter_of()
    with pytest.raises(ValueError, match="frame"):
        painter.paint(GREY[:32], DARK, 0.0)
    with pytest.raises(ValueError, match="heat"):
        painter.paint(GREY, DARK[:32], 0.0)
    with pytest.raises(ValueError, match="threshold"):
        painter_of(threshold=1.0)
    with pytest.raises(ValueError, match="waveform"):
        painter_of(sound=SILENCE[:0])
    with pytest.raises(ValueError, match="frames"):
        save_overlay_video(tmp_path / "x.mp4", [], Fraction(8), np.zeros(10), 16000)
    assert not list(tmp_path.iterdir())
