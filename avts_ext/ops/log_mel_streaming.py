"""Log-mel spectrogram of a signal that arrives in chunks, bit for bit that of the whole."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from avts_ext._extension import _C
from avts_ext.ops._pcen_operator import pcen_numpy
from avts_ext.ops.log_mel import log_mel_spectrogram_numpy
from avts_ext.ops.log_mel_spec import PCEN_FIRST_MEAN, LogMelSpec


class LogMelStream:
    """Feeds chunks of any size to :func:`avts_ext.ops.log_mel_spectrogram_numpy`.

    The results of all :meth:`feed` calls and of :meth:`finish`, joined along time, are the bits
    that the function gives for the joined chunks. Holds at most ``n_fft + hop_length`` samples
    between calls; may be pickled or copied at any moment.

    Args:
        spec: what to compute. ``top_db`` is refused: it depends on values yet to come.
        batch_shape: leading dimensions of every chunk.
        dtype: of the chunks: float32, float64, float16 or int16.

    Raises:
        ValueError: the spec has a ``top_db``.
    """

    def __init__(
        self,
        spec: LogMelSpec,
        batch_shape: tuple[int, ...] = (),
        dtype: str | np.dtype = "float32",
    ) -> None:
        if spec.top_db is not None:
            raise ValueError(f"top_db is {spec.top_db!r}, expected None: a stream has no largest")
        self.spec = spec
        self._dtype = np.dtype(dtype)
        # The padding, and the dither before it, is done here, on samples in their final format.
        computed = np.float64 if self._dtype == np.float64 else np.float32
        self._value_dtype = np.dtype(spec.dtype or computed)
        self._inner = dataclasses.replace(
            spec, center=False, dither=0.0, drop_last=False, dtype=self._value_dtype.name
        )
        if spec.pcen is not None:
            self._inner = dataclasses.replace(
                self._inner, pcen=None, mean=0.0, std=1.0, dtype=computed.__name__
            )
        self._means = np.full((math.prod(batch_shape), spec.n_mels), PCEN_FIRST_MEAN)
        self._samples = np.empty((*batch_shape, 0), computed)
        self._next_frame = 0  # where it begins in `_samples`, or will begin
        self._fed = 0  # samples in all chunks
        self._started = spec.padding == 0
        self._finished = False

    def feed(self, chunk: np.ndarray) -> np.ndarray:
        """(..., samples) -> (..., n_mels, frames), in the spec's layout: the frames now complete.

        Raises:
            ValueError: the chunk is of another type or batch shape, or the stream is finished.
        """
        if self._finished:
            raise ValueError("the stream is finished, expected no more chunks")
        batch_shape = self._samples.shape[:-1]
        if chunk.dtype != self._dtype or chunk.shape[:-1] != batch_shape:
            raise ValueError(
                f"chunk is {chunk.dtype} of batch shape {chunk.shape[:-1]}, expected "
                f"{self._dtype} of {batch_shape}"
            )
        self._samples = np.concatenate([self._samples, self._prepared(chunk)], axis=-1)
        self._fed += chunk.shape[-1]
        self._pad_start()
        return self._emit()

    def finish(self) -> np.ndarray:
        """The frames that the end's padding completes. No chunk may follow.

        Raises:
            ValueError: the stream is too short for one frame or for the reflection.
        """
        if self._fed < self.spec.samples_needed:
            raise ValueError(
                f"the stream is {self._fed} samples long, expected at least "
                f"{self.spec.samples_needed}"
            )
        self._finished = True
        self._samples = self._padded((0, self.spec.padding))
        return self._emit()

    def _prepared(self, chunk: np.ndarray) -> np.ndarray:
        """The chunk as the kernel sees samples: converted and dithered."""
        samples = np.array(chunk, dtype=self._samples.dtype, order="C")
        if self._dtype == np.int16:
            samples /= 32768
        if self.spec.dither:
            for item in np.ndindex(samples.shape[:-1]):
                _C.add_dither(samples[item], self.spec.dither, self.spec.dither_seed, self._fed)
        return samples

    def _padded(self, widths: tuple[int, int]) -> np.ndarray:
        every = [(0, 0)] * (self._samples.ndim - 1) + [widths]
        return np.pad(self._samples, every, mode=self.spec.pad_mode)  # type: ignore[call-overload]

    def _pad_start(self) -> None:
        """Pads once there are the samples that a reflection shows."""
        if not self._started and (
            self.spec.pad_mode == "constant" or self._fed > self.spec.padding
        ):
            self._samples = self._padded((self.spec.padding, 0))
            self._started = True

    def _emit(self) -> np.ndarray:
        """Frames that are complete, and followed by a complete one if the last one is dropped."""
        hop = self.spec.hop_length
        usable = self._samples.shape[-1] - (hop if self.spec.drop_last else 0)
        if not self._started or usable - self._next_frame < self._inner.samples_needed:
            return self._no_frames()
        values = log_mel_spectrogram_numpy(
            self._samples[..., self._next_frame : usable], self._inner
        )
        self._next_frame += self._inner.frames(usable - self._next_frame) * hop
        # The end's padding may show samples from before the next frame.
        shown = self._samples.shape[-1] - self.spec.padding - 1
        unneeded = max(0, min(self._next_frame, shown))
        self._samples = self._samples[..., unneeded:].copy()
        self._next_frame -= unneeded
        if self.spec.pcen is None:
            return values
        flat = values.reshape(-1, *values.shape[-2:])
        normalised = pcen_numpy(flat, None, self._means, self.spec.key, threads=1)
        return normalised.reshape(values.shape).astype(self._value_dtype, copy=False)

    def _no_frames(self) -> np.ndarray:
        mels = self.spec.n_mels
        shape = (0, mels) if self.spec.layout == "time_mel" else (mels, 0)
        return np.empty((*self._samples.shape[:-1], *shape), self._value_dtype)
