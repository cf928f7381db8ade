import copy
import pickle

import numpy as np
import pytest

from avts_ext.ops.log_mel import log_mel_spectrogram_numpy
from avts_ext.ops.log_mel_spec import LogMelSpec
from avts_ext.ops.log_mel_streaming import LogMelStream

pytestmark = pytest.mark.kernels("cpu")

SPECS = {
    "avts": LogMelSpec(),
    "whisper without its clamp": LogMelSpec.from_preset("whisper", top_db=None),
    "kaldi": LogMelSpec.from_preset("kaldi"),
    "vggish": LogMelSpec.from_preset("vggish"),
    "dither": LogMelSpec(dither=0.01, dither_seed=5, drop_last=False),
    "zeros as padding": LogMelSpec(pad_mode="constant", n_fft=399, win_length=399),
    "gaps between frames": LogMelSpec(hop_length=700, n_fft=256, win_length=256, n_mels=20),
    "hop of a frame": LogMelSpec(hop_length=512, drop_last=False),
    "without padding": LogMelSpec(center=False, dtype="float16"),
}


def chunks_of(x, sizes):
    start = 0
    while start < x.shape[-1]:
        size = int(next(sizes))
        yield x[..., start : start + size]
        start += size


def streamed(stream, chunks):
    parts = [stream.feed(chunk) for chunk in chunks]
    time_dim = -2 if stream.spec.layout == "time_mel" else -1
    return np.concatenate([*parts, stream.finish()], axis=time_dim)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("largest", [1, 100, 3000])
def test_chunks_of_any_size_give_the_bits_of_the_whole(cpu_level, name, largest):
    spec, rng = SPECS[name], np.random.default_rng(0)
    samples = 700 if largest == 1 else 20011
    x = rng.normal(size=(2, max(samples, spec.samples_needed))).astype(np.float32)
    sizes = iter(lambda: rng.integers(largest + 1) or 1, None)
    ours = streamed(LogMelStream(spec, (2,)), chunks_of(x, sizes))
    assert np.array_equal(ours, log_mel_spectrogram_numpy(x, spec))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int16"])
def test_every_sample_type(dtype):
    x = (np.random.default_rng(0).normal(size=9000) * 100).astype(dtype)
    spec = LogMelSpec(dither=0.1)
    ours = streamed(LogMelStream(spec, dtype=dtype), np.split(x, [5, 5, 3000, 8999]))
    expected = log_mel_spectrogram_numpy(x, spec)
    assert ours.dtype == expected.dtype and np.array_equal(ours, expected)


def test_state_can_be_copied_and_pickled_at_any_moment():
    x = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    stream = LogMelStream(LogMelSpec())
    first = stream.feed(x[:7777])
    for twin in (copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        ours = np.concatenate([first, streamed(twin, [x[7777:]])], axis=-1)
        assert np.array_equal(ours, log_mel_spectrogram_numpy(x, LogMelSpec()))


def test_little_is_held_between_calls():
    stream = LogMelStream(LogMelSpec())
    stream.feed(np.zeros(10**6, np.float32))
    assert len(pickle.dumps(stream)) < 8000


def test_bad_use_is_named():
    with pytest.raises(ValueError, match=r"top_db is 80.0, expected None"):
        LogMelStream(LogMelSpec.from_preset("whisper"))
    stream = LogMelStream(LogMelSpec(), (2,))
    with pytest.raises(
        ValueError, match=r"chunk is float64 of batch shape \(2,\), expected float32"
    ):
        stream.feed(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"batch shape \(3,\), expected float32 of \(2,\)"):
        stream.feed(np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match="the stream is 0 samples long, expected at least 257"):
        stream.finish()
    stream.feed(np.zeros((2, 500), np.float32))
    stream.finish()
    with pytest.raises(ValueError, match="the stream is finished"):
        stream.feed(np.zeros((2, 5), np.float32))
