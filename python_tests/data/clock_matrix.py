"""The matrix of ways to put one film into a container, and a small part of it that covers pairs.

    python python_tests/data/clock_matrix.py

writes and reads a film for every combination and prints the largest distances of flash and beep.

The axes that a container cannot express are left out of its rows: AVI has no time stamps, hence no
variable rate, no B-frames and no late track; WebM only takes VP8 and Opus; edit lists are MP4's.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from flash_beep import FLASH_LEVEL, FlashBeep, find_beeps

from avts_ext.data import ClipSpec, MediaReader, probe

AXES = {
    "container": ("mp4", "mkv", "webm", "ts", "avi"),
    "audio": ("on time", "0.5 s late", "0.2 s late", "0.3 s early", "0.5 s early"),
    "frame_rate": ("constant", "variable"),
    "b_frames": (0, 2),
    "edit_list": ("none", "cuts picture", "cuts sound"),
    "codec": ("aac", "libopus", "libmp3lame", "pcm_s16le"),
    "sample_rate": (8000, 16000, 22050, 44100, 48000),
    "layout": ("mono", "stereo", "5.1"),
}
_CODECS = {
    "mp4": ("aac", "libopus", "libmp3lame", "pcm_s16le"),
    "mkv": ("aac", "libopus", "libmp3lame", "pcm_s16le"),
    "webm": ("libopus",),
    "ts": ("aac", "libopus", "libmp3lame"),
    "avi": ("pcm_s16le",),
}
_DELAY_S = {"0.5 s late": "1/2", "0.2 s late": "1/5", "0.3 s early": "3/10", "0.5 s early": "1/2"}
SPEC = ClipSpec(n_frames=25, fps=25, height=16, width=16, sample_rate=16000)
# Before the first beep a decoder may put out this much that was never written (MP3 at 8 kHz).
_PRIMING_S = 0.15
# A time stamp may be off by half a tick, for sound and picture each.
_TICK_S = {"mp4": 0.0, "mkv": 1e-3, "webm": 1e-3, "ts": 1 / 90000, "avi": 0.0}


@dataclass(frozen=True)
class Case:
    """One combination: a value per axis."""

    container: str
    audio: str
    frame_rate: str
    b_frames: int
    edit_list: str
    codec: str
    sample_rate: int
    layout: str

    def __str__(self) -> str:
        return " ".join(str(getattr(self, axis)) for axis in AXES)

    @property
    def tolerance_s(self) -> float:
        """One sample, and what the container's ticks may add; half a frame is not made use of."""
        return 1 / min(self.sample_rate, SPEC.sample_rate) + _TICK_S[self.container]

    def is_possible(self) -> bool:
        """Whether container and codec can express it."""
        if self.codec not in _CODECS[self.container]:
            return False
        if self.codec == "libopus" and self.sample_rate in (22050, 44100):
            return False
        if self.codec == "libmp3lame" and self.layout == "5.1":
            return False
        if (self.container, self.codec, self.sample_rate) == ("mp4", "libmp3lame", 8000):
            return False
        if self.edit_list != "none" and (self.container != "mp4" or self.audio != "on time"):
            return False
        if self.container == "webm":
            return self.b_frames == 0
        if self.container == "avi":
            return (self.b_frames, self.frame_rate, self.audio) == (0, "constant", "on time")
        return True

    def film(self, duration_s: float = 3.0) -> FlashBeep:
        """What to write."""
        options: dict = {"muxer_options": {}}
        if self.container == "mp4":
            # Edit lists count in this unit; the default, milliseconds, would move the sound.
            options["muxer_options"]["movie_timescale"] = str(self.sample_rate)
        if self.audio.endswith("late"):
            options["audio_start_s"] = Fraction(_DELAY_S[self.audio])
        if self.audio.endswith("early"):
            options["video_start_s"] = Fraction(_DELAY_S[self.audio])
        if self.edit_list != "none":
            options["muxer_options"]["avoid_negative_ts"] = "disabled"
            cut = "video_start_s" if self.edit_list == "cuts picture" else "audio_start_s"
            options[cut] = Fraction(-1, 2)
        if self.container == "webm":
            options["video_codec"] = "libvpx"
        if self.container == "avi":
            options |= {"video_codec": "mpeg4", "ticks_per_frame": 1}
        return FlashBeep(
            duration_s=duration_s,
            frame_steps=(1, 2, 1, 3, 1) if self.frame_rate == "variable" else (1,),
            b_frames=self.b_frames,
            flash_every=7,
            size=(32, 32),
            audio_codec=self.codec,
            sample_rate=self.sample_rate,
            layout=self.layout,
            **options,
        )


def all_cases() -> list[Case]:
    """Every combination that can be expressed."""
    cases = (Case(*values) for values in itertools.product(*AXES.values()))
    return [case for case in cases if case.is_possible()]


def pairwise_cases() -> list[Case]:
    """A few, among which every pair of values occurs that occurs in any: greedily chosen."""
    cases = all_cases()
    left = set().union(*map(_pairs, cases))
    chosen = []
    while left:
        best = max(cases, key=lambda case: len(_pairs(case) & left))
        chosen.append(best)
        left -= _pairs(best)
    return chosen


def distances_s(
    case: Case, folder: Path, n_clips: int = 8, reader: type[MediaReader] = MediaReader
) -> list[float]:
    """Beep minus flash, in seconds, in clips at random places of a film written for the case.

    A flash without a beep is infinitely far from it.
    """
    path = case.film().write(folder / f"film.{case.container}")
    info, distances = probe(path), []
    starts = np.random.default_rng(0).uniform(
        info.start_s + _PRIMING_S, info.end_s - SPEC.duration_s, n_clips
    )
    with reader(path) as source:
        for start_s in starts:
            clip = source.read_clip(start_s, SPEC)
            beeps = find_beeps(clip.waveform.numpy(), SPEC.sample_rate, clip.audio_start_s)
            is_white = clip.frames.double().mean(dim=(1, 2, 3)) > FLASH_LEVEL - 20
            for flash in clip.frame_times_s[is_white].unique().tolist():
                # Beeps cut off at the ends of the clip cannot be found.
                if clip.start_s + 0.05 < flash < clip.end_s - 0.05:
                    distances.append(min((b - flash for b in beeps), key=abs, default=np.inf))
    return distances


def _pairs(case: Case) -> set[tuple]:
    values = [(axis, getattr(case, axis)) for axis in AXES]
    return set(itertools.combinations(values, 2))


def main() -> int:
    """Run everything; the exit status is 1 if anything is out of tolerance."""
    cases, wrong, worst_s = all_cases(), [], Counter[str]()
    for i, case in enumerate(cases):
        with tempfile.TemporaryDirectory() as folder:
            distances = np.abs(distances_s(case, Path(folder)))
        worst_s[case.container] = max(worst_s[case.container], distances.max())
        if len(distances) < 3 or distances.max() > case.tolerance_s:
            wrong.append(f"{case}: {distances.max():.6f} s in {len(distances)} flashes")
        if sys.stderr.isatty():
            print(f"\r{i + 1}/{len(cases)}", end="", file=sys.stderr)
    n_cases = Counter(case.container for case in cases)
    for container, n in n_cases.items():
        print(f"{container:6} {n:5} files, flash to beep at most {worst_s[container]:.6f} s")
    print("\n".join([*wrong, f"{len(wrong)} of {len(cases)} out of tolerance"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
