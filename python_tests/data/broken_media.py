"""Writes one file for each way in which a media file can be broken."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from flash_beep import FlashBeep

from avts_ext.data import Fault

SHORT = FlashBeep(duration_s=2.0)


def write_broken_folder(root: Path) -> dict[str, Fault]:
    """Fill `root`; the fault of each file by name."""
    good = SHORT.write(root / "scratch.mkv").read_bytes()
    front = {"movflags": "faststart"}
    front_mp4 = FlashBeep(duration_s=6.0, muxer_options=front).write(root / "scratch.mp4")
    mp4 = front_mp4.read_bytes()

    (root / "empty.mp4").touch()
    (root / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(20000))
    (root / "text.mkv").write_text("This is not a film.\n" * 50)
    back_mp4 = SHORT.write(root / "cut_before_index.mp4")
    back_mp4.write_bytes(back_mp4.read_bytes()[:4000])
    (root / "cut_in_header.mkv").write_bytes(good[:200])
    (root / "cut_after_index.mp4").write_bytes(mp4[: len(mp4) // 2])
    os.symlink(root / "nowhere.mp4", root / "dangling.mp4")
    os.mkfifo(root / "pipe.mp4")
    write_tracks(root / "silent.mp4", audio=None)
    write_tracks(root / "sound_only.mp4", video=None)
    write_tracks(root / "no_frames.mkv", video=0)
    write_tracks(root / "no_samples.mkv", audio=np.zeros(0, np.float32))
    samples = np.zeros(32000, np.float32)
    samples[20000] = np.nan
    write_tracks(root / "nan.mov", audio=samples)
    FlashBeep(duration_s=0.5).write(root / "half_a_second.mp4")
    FlashBeep(duration_s=2.0, audio_start_s=Fraction(3)).write(root / "one_after_the_other.mp4")
    damage_video(front_mp4, root / "damaged_throughout.mp4", packets=slice(None))

    (root / "scratch.mkv").unlink()
    front_mp4.unlink()
    return {
        "empty.mp4": Fault.UNREADABLE,
        "noise.mp4": Fault.UNREADABLE,
        "text.mkv": Fault.UNREADABLE,
        "cut_before_index.mp4": Fault.UNREADABLE,
        "cut_in_header.mkv": Fault.UNREADABLE,
        "cut_after_index.mp4": Fault.TRUNCATED,
        "dangling.mp4": Fault.UNREADABLE,
        "pipe.mp4": Fault.UNREADABLE,
        "silent.mp4": Fault.NO_AUDIO,
        "sound_only.mp4": Fault.NO_VIDEO,
        "no_frames.mkv": Fault.NO_FRAMES,
        "no_samples.mkv": Fault.NO_SAMPLES,
        "nan.mov": Fault.NOT_FINITE,
        "half_a_second.mp4": Fault.TOO_SHORT,
        "one_after_the_other.mp4": Fault.TOO_SHORT,
        "damaged_throughout.mp4": Fault.NO_FRAMES,
    }


def write_tracks(
    path: Path,
    video: int | None = 32,
    audio: np.ndarray | None = np.zeros(32000, np.float32),  # noqa: B008, nobody writes to it
) -> None:
    """A file with `video` frames at 16 fps and `audio` as float PCM or AAC; None leaves one out."""
    with av.open(str(path), "w") as container:
        if video is not None:
            picture = container.add_stream("libx264", rate=16)
            picture.height = picture.width = 64
            picture.pix_fmt = "yuv420p"
        if audio is not None:
            codec = "aac" if path.suffix == ".mp4" else "pcm_f32le"
            sound = container.add_stream(codec, rate=16000, layout="mono")
        container.start_encoding()
        if video:
            for i in range(video):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 16)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        if audio is not None and len(audio):
            packed = av.AudioFrame.from_ndarray(audio[None], "flt", "mono")
            packed.sample_rate, packed.pts, packed.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(sound.encode(packed))
            container.mux(sound.encode(None))


def damage_video(source: Path, target: Path, packets: slice) -> None:
    """Copy a file with some video packets, by their order in it, overwritten with noise."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        found = [p for p in container.demux(container.streams.video[0]) if p.size]
        spans = [(packet.pos, packet.size) for packet in found[packets]]
    noise = np.random.default_rng(0)
    for position, size in spans:
        data[position : position + size] = noise.bytes(size)
    target.write_bytes(bytes(data))
