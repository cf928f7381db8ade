"""The options of a log-mel spectrogram, listed once, and the presets that are made of them."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from avts_ext._extension import _C

_DTYPES = ("float32", "float64", "float16", "bfloat16")
# Decibels to the units of each logarithm.
_UNITS_PER_DB = {
    "ln_add": math.log(10) / 10,
    "ln_clamp": math.log(10) / 10,
    "log10_clamp": 0.1,
    "db": 1.0,
}


PCEN_FIRST_MEAN = 1.0


@dataclass(frozen=True)
class Pcen:
    """Per-channel energy normalisation instead of a logarithm (Wang et al., arXiv:1607.05666).

    With E(t) a filter's energy, M(t) = (1 - s) M(t - 1) + s E(t) and M(-1) = 1, the value is
    (E / (eps + M) ** gain + bias) ** power - bias ** power, as in ``librosa.pcen``, whose defaults
    these are. It is made for samples in the range of integers: multiply them by 2 ** 31.

    Args:
        gain: exponent of the mean, >= 0; 0 leaves the level as it is.
        bias: > 0.
        power: exponent of the compression, > 0.
        time_constant_s: of the mean, in seconds, > 0; it determines s.
        eps: > 0; keeps silence finite.

    Raises:
        ValueError: an argument is out of its range.
    """

    gain: float = 0.98
    bias: float = 2.0
    power: float = 0.5
    time_constant_s: float = 0.4
    eps: float = 1e-6

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            lowest_is_allowed = option.name == "gain" and value == 0
            if not (0 < value < math.inf or lowest_is_allowed):
                expected = "a number >= 0" if option.name == "gain" else "a number > 0"
                raise ValueError(f"pcen.{option.name} is {value!r}, expected {expected}")


@dataclass(frozen=True)
class LogMelSpec:
    """What :func:`avts_ext.ops.log_mel_spectrogram` computes. Hashable, picklable, checked.

    The defaults give (..., 40, 100) for 1 s at 16 kHz: preset "avts".

    Args:
        sample_rate: Hz.
        n_fft: length of the Fourier transform in samples; any length, fast for products of 2, 3
            and 5, fastest for 240, 256, 320, 400, 480, 512, 640, 800, 960, 1024 and 2048.
        win_length: length of the window in samples, at most ``n_fft``; it stands in the middle of
            its frame, as in :func:`torch.stft`.
        hop_length: samples from one frame to the next.
        window: "hann", "hamming", "povey" (Kaldi's hann ** 0.85), "rectangular", or
            ``win_length`` numbers (a sequence, array or tensor; it gets no gradient).
        periodic: the window is one period of its cosine; False: symmetric, with equal ends.
        center: pad on both sides, so that frame t is centred on sample ``t * hop_length``.
        pad_mode: "reflect" or "constant" (zeros).
        frame_span: how many samples a frame takes from the signal: "n_fft" (torch.stft, librosa)
            or "win_length" (Kaldi); half of it is what ``center`` pads.
        drop_last: leave out the last frame, so that a whole number of hops gives that many frames.
        remove_dc: take each frame's mean off its ``win_length`` samples, as Kaldi does.
        preemphasis: then take this part of the sample before off each sample; the frame's first
            sample counts as its own predecessor.
        dither: standard deviation of Gaussian noise added to the samples, in their units. The
            noise is a function of ``dither_seed`` and of the sample's index in its item, hence the
            same for each item of a batch.
        dither_seed: see ``dither``.
        power: exponent of the magnitude: 2 for the power spectrum, 1 for the magnitude itself.
        n_mels: number of triangular filters, at most ``n_fft // 2 + 1``. Filters too narrow to
            contain a frequency of the transform are zero.
        f_min: lower edge of the first filter, Hz.
        f_max: upper edge of the last filter, Hz; None: ``sample_rate / 2``.
        mel_scale: "htk" or "slaney".
        mel_slopes: the filters' sides are straight over "hz" (torchaudio, librosa) or over "mel"
            (Kaldi, VGGish).
        norm: "slaney" divides each filter by half its width in Hz; None leaves its peak at 1.
        log: "none", "ln_add": ln(x + eps), "ln_clamp": ln(max(x, eps)), "log10_clamp":
            log10(max(x, eps)), or "db": 10 log10(max(x, eps)).
        eps: see ``log``.
        top_db: raise values further than this below the item's largest to that distance, in
            decibels of x whatever the logarithm; None: do not. An item with a NaN becomes NaN.
        pcen: normalise each filter by its recent mean, see :class:`Pcen`; wants ``log="none"``. A
            NaN then spoils the later frames of its item too. CPUs only: a waveform on a GPU is
            refused.
        mean: subtracted at the very end,
        std: then divided by.
        layout: "mel_time" or "time_mel".
        dtype: of the result: "float32", "float64", "float16" or "bfloat16" (or the torch or NumPy
            type of that name); None: that of the computation, float64 for float64, else float32.

    Raises:
        ValueError: an option is out of its range; the message names it.
        TypeError: an option is of a wrong type.
    """

    sample_rate: float = 16000
    n_fft: int = 512
    win_length: int = 320
    hop_length: int = 160
    window: str | tuple[float, ...] = "hann"
    periodic: bool = True
    center: bool = True
    pad_mode: str = "reflect"
    frame_span: str = "n_fft"
    drop_last: bool = True
    remove_dc: bool = False
    preemphasis: float = 0.0
    dither: float = 0.0
    dither_seed: int = 0
    power: float = 2.0
    n_mels: int = 40
    f_min: float = 0.0
    f_max: float | None = None
    mel_scale: str = "htk"
    mel_slopes: str = "hz"
    norm: str | None = None
    log: str = "ln_add"
    eps: float = 1e-6
    top_db: float | None = None
    pcen: Pcen | None = None
    mean: float = 0.0
    std: float = 1.0
    layout: str = "mel_time"
    dtype: str | None = None

    # The options as JSON: what travels through PyTorch's dispatcher in one argument.
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.window, str):
            object.__setattr__(self, "window", _numbers(self.window))
        if self.dtype is not None:
            name = getattr(self.dtype, "__name__", str(self.dtype)).removeprefix("torch.")
            object.__setattr__(self, "dtype", name)
            if name not in _DTYPES:
                raise ValueError(f"dtype is {name!r}, expected one of: {', '.join(_DTYPES)}")
        if self.pcen is not None and self.log != "none":
            raise ValueError(f"log is {self.log!r}, expected 'none' with pcen")
        values = {name: getattr(self, name) for name in OPTION_NAMES}
        values["pcen"] = self.pcen and asdict(self.pcen)
        object.__setattr__(self, "key", json.dumps(values))
        kernel_of(self.key)  # checks the rest
        if self.top_db is not None:
            if not 0 <= self.top_db < math.inf:
                raise ValueError(f"top_db is {self.top_db!r}, expected a number >= 0 or None")
            if self.log not in _UNITS_PER_DB:
                raise ValueError(f"top_db is {self.top_db!r}, expected None if log is {self.log!r}")

    @classmethod
    def from_preset(cls, name: str, **overrides: Any) -> LogMelSpec:
        """One of :data:`PRESETS` with some options replaced.

        Raises:
            ValueError: there is no such preset, or an option is out of its range.
        """
        if name not in PRESETS:
            raise ValueError(f"name is {name!r}, expected one of: {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **overrides})

    @functools.cached_property
    def dynamic_range(self) -> float:
        """``top_db`` in the units of the values; without one infinite."""
        if self.top_db is None:
            return math.inf
        return self.top_db * _UNITS_PER_DB[self.log] / self.std

    @functools.cached_property
    def padding(self) -> int:
        """Samples that are padded on each side."""
        return self._frame_samples // 2 if self.center else 0

    @functools.cached_property
    def samples_needed(self) -> int:
        """Length of the shortest waveform that gives a frame."""
        without_padding = self._frame_samples - 2 * self.padding
        reflected = self.padding + 1 if self.padding and self.pad_mode == "reflect" else 1
        return max(reflected, without_padding + (self.hop_length if self.drop_last else 0))

    def frames(self, samples: Any) -> Any:
        """Frames of a waveform of at least ``samples_needed`` samples: an int, tensor or array."""
        beyond_first = samples + 2 * self.padding - self._frame_samples
        return beyond_first // self.hop_length + (0 if self.drop_last else 1)

    @functools.cached_property
    def _frame_samples(self) -> int:
        return self.n_fft if self.frame_span == "n_fft" else self.win_length


@functools.lru_cache(maxsize=64)
def spec_of(key: str) -> LogMelSpec:
    """The spec with this :attr:`LogMelSpec.key`."""
    values = json.loads(key)
    if isinstance(values["window"], list):
        values["window"] = tuple(values["window"])
    values["pcen"] = values["pcen"] and Pcen(**values["pcen"])
    return LogMelSpec(**values)


@functools.lru_cache(maxsize=64)
def pcen_options(key: str) -> dict[str, float]:
    """What the compiled PCEN takes, from the key of a spec that has one."""
    spec = spec_of(key)
    assert spec.pcen is not None
    frames = spec.pcen.time_constant_s * spec.sample_rate / spec.hop_length
    # The pole whose spectrum falls to a half at the time constant's frequency, as librosa has it.
    smoothing = (math.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2)
    options = asdict(spec.pcen) | {"smoothing": smoothing, "mean": spec.mean, "std": spec.std}
    del options["time_constant_s"]
    return options


@functools.lru_cache(maxsize=64)
def kernel_of(key: str) -> Any:
    """The compiled transform of a spec, with its tables, by the spec's key."""
    return _C.LogMel(kernel_options(key))


def kernel_options(key: str) -> dict[str, Any]:
    """What the compiled transforms take, from a spec's key."""
    options = json.loads(key)
    if options["pcen"]:  # which comes after them, and does the normalisation
        options |= {"mean": 0.0, "std": 1.0}
    for ours in ("top_db", "dtype", "pcen"):
        del options[ours]
    options["norm"] = options["norm"] or "none"
    if options["f_max"] is None:
        options["f_max"] = options["sample_rate"] / 2
    given = not isinstance(options["window"], str)
    options["window_samples"] = options["window"] if given else []
    options["window"] = "given" if given else options["window"]
    return options


def _numbers(window: Any) -> tuple[float, ...]:
    values = window.tolist() if hasattr(window, "tolist") else window
    if not isinstance(values, Sequence) or not all(isinstance(v, (int, float)) for v in values):
        raise TypeError(f"window is {window!r}, expected a name or a sequence of numbers")
    return tuple(float(value) for value in values)


OPTION_NAMES = tuple(option.name for option in fields(LogMelSpec) if option.init)

_KALDI: dict[str, Any] = {
    "n_fft": 512,
    "win_length": 400,
    "hop_length": 160,
    "periodic": False,
    "center": False,
    "frame_span": "win_length",
    "drop_last": False,
    "remove_dc": True,
    "preemphasis": 0.97,
    "f_min": 20.0,
    "mel_slopes": "mel",
    "log": "ln_clamp",
    "eps": 2.0**-23,
    "layout": "time_mel",
}

# Where each comes from, and how closely it is met, is told in docs/log_mel.md.
PRESETS: dict[str, dict[str, Any]] = {
    "avts": {},
    "torchaudio": {
        "n_fft": 400,
        "win_length": 400,
        "hop_length": 200,
        "n_mels": 128,
        "log": "none",
        "drop_last": False,
    },
    "librosa": {
        "sample_rate": 22050,
        "n_fft": 2048,
        "win_length": 2048,
        "hop_length": 512,
        "pad_mode": "constant",
        "drop_last": False,
        "n_mels": 128,
        "mel_scale": "slaney",
        "norm": "slaney",
        "log": "db",
        "eps": 1e-10,
        "top_db": 80.0,
    },
    "kaldi": {**_KALDI, "window": "povey", "n_mels": 23},
    "whisper": {
        "n_fft": 400,
        "win_length": 400,
        "n_mels": 80,
        "mel_scale": "slaney",
        "norm": "slaney",
        "log": "log10_clamp",
        "eps": 1e-10,
        "top_db": 80.0,
        "mean": -4.0,
        "std": 4.0,
    },
    "vggish": {
        "win_length": 400,
        "center": False,
        "frame_span": "win_length",
        "drop_last": False,
        "power": 1.0,
        "n_mels": 64,
        "f_min": 125.0,
        "f_max": 7500.0,
        "mel_slopes": "mel",
        "eps": 0.01,
        "layout": "time_mel",
    },
    "ast": {**_KALDI, "window": "hann", "n_mels": 128, "mean": -4.2677393, "std": 9.1379948},
}
