"""Pictures are upright, in proportion, filled to their borders, and in the right colours."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import center_crop, resize

from avts_ext.data import ClipSpec, MediaReader
from avts_ext.data.picture import covered_window

# Each quarter of the picture has a colour of its own, clockwise from the upper left.
QUARTERS = np.array([[[255, 0, 0], [0, 255, 0]], [[255, 255, 0], [0, 0, 255]]], np.uint8)


def quarters(height, width):
    top, left = np.arange(height) * 2 // height, np.arange(width) * 2 // width
    return QUARTERS[top][:, left]


def write(path, picture, pix_fmt="yuv444p", aspect=1, turn=None, codec="libx264", options=None):
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=8, options={"crf": "2", **(options or {})})
        video.height, video.width = picture.shape[:2]
        video.pix_fmt = pix_fmt
        video.codec_context.sample_aspect_ratio = Fraction(aspect)
        if turn:
            video.set_display_rotation(*turn)
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 8)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def read(path, height, width):
    spec = ClipSpec(n_frames=1, fps=1, height=height, width=width)
    with MediaReader(path, tracks="video") as reader:
        return reader.read_frames(0.125, spec)[0][0].numpy()


def corners(picture):
    height, width, _ = picture.shape
    rows, columns = [height // 4, 3 * height // 4], [width // 4, 3 * width // 4]
    return picture[rows][:, columns].astype(int)


def assert_quarters(picture, turned=0):
    assert np.abs(corners(picture) - np.rot90(QUARTERS, turned).astype(int)).max() < 20


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p", "yuv420p10le", "yuvj420p", "yuv422p"])
def test_formats(tmp_path, suffix, pix_fmt):
    assert_quarters(read(write(tmp_path / f"f{suffix}", quarters(64, 96), pix_fmt), 32, 48))


def test_ten_bits_of_hevc(tmp_path):
    path = write(tmp_path / "f.mkv", quarters(64, 64), "yuv420p10le", codec="libx265")
    assert_quarters(read(path, 32, 32))


@pytest.mark.parametrize("size", [(47, 63), (33, 31), (65, 35)])
@pytest.mark.parametrize("target", [(16, 16), (24, 40), (31, 17)])
def test_odd_sizes(tmp_path, size, target):
    picture = read(write(tmp_path / "f.mp4", quarters(*size)), *target)
    assert picture.shape == (*target, 3)
    assert_quarters(picture)


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="PyAV 17 cannot write the matrix"
)
@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_display_matrix_turns_the_picture(tmp_path, degrees):
    path = write(tmp_path / "f.mp4", quarters(48, 96), turn=(degrees,))
    height, width = (48, 96) if degrees == 180 else (96, 48)
    picture = read(path, height // 2, width // 2)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation in (degrees, degrees - 360, degrees + 360)
        upright = np.rot90(frame.to_ndarray(format="rgb24"), degrees // 90)
    expected = upright[1::2, 1::2].astype(int)
    assert expected.shape == picture.shape
    assert np.abs(corners(picture) - corners(expected)).max() < 20


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="PyAV 17 cannot write the matrix"
)
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("left_right", "up_down"), [(True, False), (False, True)])
def test_a_display_matrix_mirrors_the_picture(tmp_path, degrees, left_right, up_down):
    path = write(tmp_path / "f.mp4", quarters(64, 64), turn=(degrees, left_right, up_down))
    upright = np.rot90(QUARTERS, degrees // 90).astype(int)
    expected = upright[:, ::-1] if left_right else upright[::-1]
    assert np.abs(corners(read(path, 32, 32)) - expected).max() < 20


@pytest.mark.parametrize(("aspect", "height"), [(Fraction(2), 128), (Fraction(1, 2), 32)])
def test_anamorphic_pixels(tmp_path, aspect, height):
    # A disc on the screen must stay one whatever the shape of the stored pixels.
    rows, columns = np.mgrid[:height, :64]
    across = (columns - 31.5) * float(aspect)
    down = rows - (height - 1) / 2
    disc = (np.hypot(across, down) < 0.25 * height)[..., None] * np.full(3, 255, np.uint8)
    path = write(tmp_path / "f.mp4", disc.astype(np.uint8), aspect=aspect)
    bright = read(path, height, height)[..., 0] > 128
    assert bright.any(0).sum() == pytest.approx(height / 2, abs=2)
    assert bright.any(1).sum() == pytest.approx(height / 2, abs=2)


def test_what_hangs_over_is_cut_off_equally(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, 24:72] = 255
    assert read(write(tmp_path / "f.mp4", picture), 24, 24).min() > 235
    picture = picture.transpose(1, 0, 2)
    assert read(write(tmp_path / "g.mp4", picture), 24, 24).min() > 235


@pytest.mark.parametrize(
    ("frame", "aspect", "target", "expected"),
    [
        ((240, 320), 1, (112, 112), (240, 240)),
        ((320, 240), 1, (112, 112), (240, 240)),
        ((240, 320), 1, (120, 160), (240, 320)),
        ((240, 320), Fraction(4, 3), (112, 112), (240, 180)),
        ((47, 63), 1, (16, 16), (47, 48)),
        ((3, 101), 1, (100, 1), (3, 2)),
    ],
)
def test_window_that_covers_the_picture(frame, aspect, target, expected):
    assert covered_window(*frame, Fraction(aspect), *target) == expected


@pytest.mark.parametrize(("matrix", "number"), [("bt709", 1), ("smpte170m", 6)])
@pytest.mark.parametrize("full_range", [False, True])
def test_colour_matrix_and_range_are_obeyed(tmp_path, matrix, number, full_range):
    """Against the definition: luma and chroma from the red, green and blue weights."""
    kr, kb = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114)}[matrix]
    red, green, blue = 0.8, 0.3, 0.1
    y = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
    scale, offset, chroma = (255, 0, 255) if full_range else (219, 16, 224)
    planes = np.empty((3, 64, 64), np.uint8)
    values = (offset + scale * y, 128 + chroma * cb, 128 + chroma * cr)
    planes[:] = np.round(values)[:, None, None]
    path = tmp_path / "f.mp4"
    with av.open(str(path), "w") as container:
        options = {"crf": "0", "colorspace": matrix, "color_range": "pc" if full_range else "tv"}
        video = container.add_stream("libx264", rate=8, options=options)
        video.height = video.width = 64
        video.pix_fmt = "yuv444p"
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(planes, "yuv444p", channel_last=False)
            frame.pts, frame.time_base = i, Fraction(1, 8)
            frame.colorspace, frame.color_range = number, 2 if full_range else 1
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    found = read(path, 16, 16).reshape(-1, 3).mean(0)
    assert np.abs(found - 255 * np.array([red, green, blue])).max() < 3


def plane(frame, index):
    stored = frame.planes[index]
    rows = np.frombuffer(stored, np.uint8).reshape(-1, stored.line_size)
    return torch.from_numpy(rows[: stored.height, : stored.width].copy()).float()[None]


@pytest.mark.parametrize("size", [(48, 48), (40, 72), (96, 96), (112, 112)])
def test_scaling_and_conversion_are_those_of_the_definition(tmp_path, size):
    """Against float64 planes that are scaled one by one and then converted."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (12, 16, 3)).astype(np.float32)
    smooth = resize(torch.from_numpy(coarse).permute(2, 0, 1), [96, 128], antialias=True)
    path = write(tmp_path / "f.mp4", smooth.permute(1, 2, 0).numpy().astype(np.uint8), "yuv420p")
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[1]
    rows, columns = covered_window(96, 128, Fraction(1), *size)
    y, u, v = (
        resize(center_crop(plane(frame, i), [rows // half, columns // half]), list(size))[0]
        for i, half in enumerate((1, 2, 2))
    )
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 1.402 * v, y + 1.772 * u
    green = (y - 0.299 * red - 0.114 * blue) / 0.587
    expected = 255 * torch.stack([red, green, blue], -1).clamp(0, 1).numpy()
    found = read(path, *size).astype(float)
    assert np.abs(found - expected).mean() < 0.6
    assert np.abs((found - expected).mean((0, 1))).max() < 0.2
