from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from avts_ext.data.clips import ClipSpec, Pictures
from avts_ext.data.source import ClipSource
from avts_ext.evaluation.recordings import (
    Recording,
    answer,
    estimate_offset,
    questions_about,
    read_whole,
    recording_features,
)
from avts_ext.evaluation.sync import KINDS

SPEC = ClipSpec(n_frames=8, fps=8, height=2, width=2, sample_rate=1600)


class Clock(ClipSource):
    """Every frame and every sample says what time it is, and in which file.

    The red channel counts sixteenths of a second, green is the file; a sample is the time in
    seconds over 16, plus the number of the file. `late_s` delays the sound.
    """

    def __init__(self, number, duration_s, start_s=1.0, late_s=0.0):
        self.path, self.number, self.late_s = f"{number}", number, late_s
        self.start_s, self.end_s = start_s, start_s + duration_s

    def frames_at(self, times, height, width):
        times_s = torch.tensor([float(time) for time in times], dtype=torch.float64)
        assert self.start_s <= times_s[0] and times_s[-1] < self.end_s
        frames = torch.zeros(len(times), height, width, 3, dtype=torch.uint8)
        frames[..., 0] = (times_s * 16).round().to(torch.uint8)[:, None, None]
        frames[..., 1] = self.number
        return Pictures(frames, times_s, times_s)

    def samples(self, first, last, sample_rate):
        assert self.start_s * sample_rate <= first and last <= self.end_s * sample_rate
        times_s = np.arange(first, last) / sample_rate - self.late_s
        return (times_s / 16 + self.number).astype(np.float32), np.zeros((0, 2), np.int64)

    def onsets(self, start, end):
        raise NotImplementedError

    def extent(self, sample_rate):
        raise NotImplementedError

    def close(self):
        pass


class Reader(nn.Module):
    """Embeds a clip as (time, file)."""

    config = SimpleNamespace(clip=SPEC)

    def __init__(self):
        super().__init__()
        self.says_which_device = nn.Parameter(torch.zeros(()))

    def embed_video(self, frames):
        first = frames[:, 0, 0, 0].double()
        return torch.stack([first[:, 0] / 16, 1000 * first[:, 1]], 1)

    def embed_audio(self, waveform):
        first = waveform[:, 0].double()
        number = first.floor()
        return torch.stack([(first - number) * 16, 1000 * number], 1)

    def audio_input(self, waveform):
        return waveform[:, None, None]

    def audio_features(self, x):
        return x


def recordings(**options):
    lengths_s = (6.0, 5.0, 4.5)
    return [Recording(Clock(k, s, **options), 1.0, s) for k, s in enumerate(lengths_s)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [7, 64])
def test_a_network_that_reads_the_clock_answers_everything(kind, batch_size):
    asked = questions_about(recordings(), kind, 40, SPEC)
    score = answer(Reader(), recordings(), asked, batch_size)
    assert (score.accuracy, score.auc, score.n) == (1.0, 1.0, 40)


def test_a_network_that_reads_the_wrong_clock_does_not():
    asked = questions_about(recordings(), "hard", 40, SPEC)
    assert answer(Reader(), recordings(late_s=2.5), asked).accuracy < 0.7


@pytest.mark.parametrize("late_s", [0.0, 0.5, -0.6875])
def test_late_sound_has_a_positive_offset(late_s):
    found_s = estimate_offset(Reader(), recordings(late_s=late_s)[0], step_s=0.0625)
    # The frame tells the time to a sixteenth of a second.
    assert found_s == pytest.approx(late_s, abs=0.05)


def test_offset_of_a_short_recording_is_refused():
    with pytest.raises(ValueError, match="recording"):
        estimate_offset(Reader(), Recording(Clock(0, 3.9), 1.0, 3.9))


def test_features_are_means_over_clips():
    found = recording_features(Reader(), recordings()[2:])
    # Clips from 1, 2, 3 and 4 s of file 2; of each the mean over time, and the maximum.
    starts = torch.tensor([1.0, 2, 3, 4])
    mean = 2 + (starts + 0.5 - 0.5 / 1600).mean() / 16
    top = 2 + (starts + 1 - 1 / 1600).mean() / 16
    assert found.tolist() == [pytest.approx([mean.item(), top.item()], abs=1e-5)]


def test_read_whole():
    frames, waveform = read_whole(recordings()[2], SPEC)
    assert frames.shape == (35, 2, 2, 3) and waveform.shape == (35 * 200,)
    assert frames[1, 0, 0].tolist() == [18, 2, 0] and waveform[0] == pytest.approx(2 + 1 / 16)
