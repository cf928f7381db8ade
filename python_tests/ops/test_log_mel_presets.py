"""Presets against the libraries whose numbers they promise.

torchaudio, Kaldi (as torchaudio implements it) and librosa are called. Whisper, VGGish and AST are
written out below from their published preprocessing; AST's feature extractor and Whisper's filters
come from torchaudio and librosa themselves.
"""

import librosa
import numpy as np
import pytest
import torch
import torchaudio

from avts_ext.ops.log_mel import log_mel_spectrogram
from avts_ext.ops.log_mel_spec import PRESETS, LogMelSpec


def sound(seconds=1.7, rate=16000):
    """Tones over noise over near silence, so that every part of the logarithm's range is met."""
    t = torch.arange(round(seconds * rate)) / rate
    envelope = torch.linspace(-5, 0, len(t)).exp2() * (t > 0.2)
    return envelope * (0.3 * torch.sin(2 * torch.pi * 440 * t) + 0.05 * torch.randn(len(t)))


def torchaudio_mel(x, **changes):
    return torchaudio.transforms.MelSpectrogram(**changes)(x)


def librosa_db(x, **changes):
    mel = librosa.feature.melspectrogram(y=x.numpy(), sr=22050, **changes)
    return torch.from_numpy(librosa.power_to_db(mel))


def kaldi(x, **changes):
    return torchaudio.compliance.kaldi.fbank(x[None], **changes)


def whisper(x, n_mels=80):
    stft = torch.stft(x, 400, 160, window=torch.hann_window(400), return_complex=True)
    filters = torch.from_numpy(librosa.filters.mel(sr=16000, n_fft=400, n_mels=n_mels))
    logarithm = (filters @ stft[..., :-1].abs() ** 2).clamp(min=1e-10).log10()
    return (torch.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0


def vggish(x):
    frames = np.lib.stride_tricks.sliding_window_view(x.numpy().astype(np.float64), 400)[::160]
    window = 0.5 - 0.5 * np.cos(2 * np.pi / 400 * np.arange(400))
    magnitude = np.abs(np.fft.rfft(frames * window, 512))

    def mel_of(hz):
        return 1127.0 * np.log(1.0 + hz / 700.0)

    bins = mel_of(np.linspace(0, 8000, 257))
    edges = np.linspace(mel_of(125.0), mel_of(7500.0), 66)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    filters[0] = 0
    return torch.from_numpy(np.log(magnitude @ filters + 0.01))


def ast(x):
    values = kaldi(x, window_type="hanning", num_mel_bins=128, sample_frequency=16000)
    return (values + 4.2677393) / (4.5689974 * 2)


# preset, changes of it, library, the same changes there, largest difference: absolute where there
# is a logarithm, relative where there is none
PARITY = [
    ("torchaudio", {}, torchaudio_mel, {}, 2e-5),
    (
        "torchaudio",
        {"n_mels": 64, "power": 1.0},
        torchaudio_mel,
        {"n_mels": 64, "power": 1.0},
        2e-5,
    ),
    ("librosa", {}, librosa_db, {}, 2e-3),
    ("librosa", {"n_fft": 1024, "win_length": 1024}, librosa_db, {"n_fft": 1024}, 2e-3),
    ("kaldi", {}, kaldi, {}, 5e-4),
    ("kaldi", {"n_mels": 80}, kaldi, {"num_mel_bins": 80}, 2e-3),
    ("whisper", {}, whisper, {}, 3e-5),
    ("whisper", {"n_mels": 128}, whisper, {"n_mels": 128}, 3e-5),
    ("vggish", {}, vggish, {}, 1e-5),
    ("ast", {}, ast, {}, 1e-3),
]


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
@pytest.mark.parametrize("name, changes, library, same_changes, tolerance", PARITY)
def test_preset_equals_its_library(cpu_level, name, changes, library, same_changes, tolerance):
    x = sound()
    ours = log_mel_spectrogram(x, LogMelSpec.from_preset(name, **changes))
    theirs = library(x, **same_changes)
    rtol = tolerance if PRESETS[name].get("log") == "none" else 0
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=rtol, atol=tolerance)


def test_kaldi_equals_its_library_on_integer_scaled_samples():
    x = (sound() * 32768).round()
    ours = log_mel_spectrogram(x, LogMelSpec.from_preset("kaldi", n_mels=80))
    torch.testing.assert_close(ours, kaldi(x, num_mel_bins=80), rtol=0, atol=2e-3)


def test_every_preset_has_a_parity_test():
    assert {name for name, *_ in PARITY} == set(PRESETS) - {"avts"}  # the operator's defaults
