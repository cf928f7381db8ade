"""Times the way from MP4 files to (uint8 frames, log-mel) beside other loaders, on one thread.

    python benchmarks/bench_pipeline.py --rounds 5 --clips 24

Writes films of 320 x 240 pixels with a key frame every 30 and every 250 frames, and cuts random
clips of one second from them: the frames the film has, and 16 kHz mono sound turned into log-mel by
the same operator for all. First the loaders' outputs are compared, then they take turns in rounds;
printed is the median CPU time of a clip and the median over rounds of the ratio within a round.
Afterwards: clips per second over worker processes, and where the time goes.

Peers that are not installed (torchcodec, decord) are left out. torchcodec finds its FFmpeg
libraries by the linker's search path.
"""

import argparse
import collections
import contextlib
import functools
import itertools
import platform
import statistics
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torchaudio
import torchvision.transforms.v2.functional as vision
from torch.utils.data import DataLoader

from avts_ext import LogMelSpectrogram
from avts_ext.data import ClipSpec, MediaReader
from avts_ext.data import audio_blocks as sound

try:
    from torchcodec.decoders import AudioDecoder, VideoDecoder
    from torchcodec.transforms import CenterCrop, Resize
except (ImportError, RuntimeError):
    VideoDecoder = None
try:
    import decord
except ImportError:
    decord = None

FPS, HEIGHT, WIDTH = 25, 240, 320
RATE = 16000
FILM_S = 30


def write_film(path, keyframe_interval, seed):
    """Drifting texture and a little grain, H.264 at quality 23, and noise with beeps as AAC."""
    rng = np.random.default_rng(seed)
    texture = rng.uniform(0, 255, (30, 40, 3)).repeat(16, 0).repeat(16, 1)
    for axis in (0, 1):
        texture = sum(np.roll(texture, shift, axis) for shift in range(-8, 9)) / 17
    grain = rng.normal(0, 2, (4, HEIGHT, WIDTH, 3))
    with av.open(str(path), "w") as container:
        options = {"g": str(keyframe_interval), "keyint_min": str(keyframe_interval)}
        options |= {"sc_threshold": "0", "crf": "23", "preset": "medium", "threads": "1"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="stereo")
        audio.bit_rate = 128_000
        for i in range(FILM_S * FPS):
            top, left = (round(60 + 50 * np.sin(i / 31)), round(80 + 70 * np.cos(i / 43)))
            picture = texture[top : top + HEIGHT, left : left + WIDTH] + grain[i % 4]
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        time_s = np.arange(FILM_S * 44100) / 44100
        waves = 0.3 * np.sin(2 * np.pi * (500 * time_s + 30 * np.sin(2 * time_s)))
        waves = (waves + rng.normal(0, 0.05, (2, len(time_s)))).astype(np.float32)
        for first in range(0, waves.shape[1], 1024):
            part = np.ascontiguousarray(waves[:, first : first + 1024])
            frame = av.AudioFrame.from_ndarray(part, "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = 44100, first, Fraction(1, 44100)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return str(path)


class Ours:
    """`MediaReader`."""

    name = "avts_ext"

    def __init__(self, path, size):
        self.reader = MediaReader(path)
        self.spec = ClipSpec(FPS, Fraction(FPS), size, size, RATE)

    def read(self, start_s):
        clip = self.reader.read_clip(start_s, self.spec)
        return clip.frames, clip.waveform

    def close(self):
        self.reader.close()


class Torchcodec:
    """Cutting and scaling inside its decoder, seeking without a scan of the file."""

    name = "torchcodec"

    def __init__(self, path, size):
        # Cut first, as we do: less is left to scale.
        transforms = [CenterCrop((HEIGHT, HEIGHT)), Resize((size, size))]
        self.video = VideoDecoder(
            path,
            dimension_order="NHWC",
            num_ffmpeg_threads=1,
            seek_mode="approximate",
            transforms=transforms,
        )
        self.audio = AudioDecoder(path, sample_rate=RATE, num_channels=1)

    def read(self, start_s):
        first = round(start_s * FPS)
        frames = self.video.get_frames_in_range(first, first + FPS).data
        samples = self.audio.get_samples_played_in_range(start_s, start_s + 1).data
        return frames, samples[0, :RATE]

    def close(self):
        pass


class Decord:
    """Scaling inside its decoder; its audio reader decodes the whole file on opening.

    Its sound is not the same: later by 1 ms, and uneven.
    """

    name = "decord"

    def __init__(self, path, size):
        width = round(size * WIDTH / HEIGHT)
        self.video = decord.VideoReader(path, width=width, height=size, num_threads=1)
        self.audio = decord.AudioReader(path, sample_rate=RATE, mono=True)
        self.size, self.left = size, (width - size) // 2

    def read(self, start_s):
        first, n = round(start_s * FPS), round(start_s * RATE)
        frames = self.video.get_batch(range(first, first + FPS)).asnumpy()
        frames = frames[:, :, self.left : self.left + self.size]
        samples = self.audio[n : n + RATE].asnumpy()
        return torch.from_numpy(frames), torch.from_numpy(samples[0])

    def close(self):
        pass


class PlainPyAV:
    """As `torchvision.io` did it: seek, decode, convert at full size, resize afterwards."""

    name = "PyAV + torchvision"

    def __init__(self, path, size):
        self.container, self.size = av.open(path), size
        for stream in self.container.streams:
            stream.thread_count = 1

    def _frames(self, stream, start_s, end_s):
        self.container.seek(int(start_s / stream.time_base), stream=stream)
        for frame in self.container.decode(stream):
            if frame.time >= end_s - 1e-6:
                return
            yield frame

    def read(self, start_s):
        video, audio = self.container.streams.video[0], self.container.streams.audio[0]
        decoded = self._frames(video, start_s, start_s + 1)
        pictures = [f.to_ndarray(format="rgb24") for f in decoded if f.time > start_s - 0.5 / FPS]
        frames = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        frames = vision.resize(
            vision.center_crop(frames, [HEIGHT, HEIGHT]), [self.size, self.size], antialias=True
        )
        blocks = list(self._frames(audio, start_s - 0.1, start_s + 1.01))
        native = torch.from_numpy(np.concatenate([b.to_ndarray() for b in blocks], 1)).mean(0)
        mono = torchaudio.functional.resample(native, audio.rate, RATE)
        first = round((start_s - blocks[0].time) * RATE)
        return frames.permute(0, 2, 3, 1), mono[first : first + RATE]

    def close(self):
        self.container.close()


def loaders():
    peers = [(VideoDecoder, Torchcodec), (decord, Decord), (av, PlainPyAV)]
    return [Ours, *(loader for package, loader in peers if package is not None)]


def lag_and_likeness(wave, other, most=RATE // 10):
    """By how many samples `other` is late, and the correlation once that is undone."""
    inner = wave[most:-most].numpy()
    windows = np.lib.stride_tricks.sliding_window_view(other.numpy(), len(inner))
    scores = [np.corrcoef(inner, window)[0, 1] for window in windows]
    return int(np.argmax(scores)) - most, max(scores)


def compare(path, size, starts):
    """Print how far the peers' outputs are from ours; raise if they are not the same clips."""
    for loader in loaders()[1:]:
        apart, sounds = [], []
        for start_s in starts:
            frames, wave = Ours(path, size).read(start_s)
            others, other = loader(path, size).read(start_s)
            assert frames.shape == others.shape and len(wave) == len(other)
            apart.append((frames.float() - others.float()).abs().mean().item())
            sounds.append(lag_and_likeness(wave, other))
        likeness = min(correlation for _, correlation in sounds)
        print(
            f"  {loader.name}: mean difference of pixels at most {max(apart):.2f} of 255; "
            f"sound late by {sounds[0][0] / RATE * 1e3:.2f} ms, then correlated {likeness:.5f}"
        )
        # A neighbouring frame would be off by more, a later sound be told above.
        assert max(apart) < 5 and (likeness > 0.98 or loader is Decord), loader.name


def time_clips(loader, path, size, starts, log_mel, kept):
    """Seconds of CPU time per clip."""
    begin = time.process_time()
    opened = loader(path, size) if kept else None
    for start_s in starts:
        source = opened or loader(path, size)
        frames, wave = source.read(start_s)
        torch.stack([frames]), log_mel(wave[None])
        if not kept:
            source.close()
    return (time.process_time() - begin) / len(starts)


def race(path, size, starts, rounds, log_mel):
    for kept in (False, True):
        times = collections.defaultdict(list)
        for _ in range(rounds):
            for loader in loaders():
                times[loader].append(time_clips(loader, path, size, starts, log_mel, kept))
        print(f"  {'kept open' if kept else 'opened per clip'}:")
        for loader, seconds in times.items():
            ratios = [b / a for a, b in zip(times[Ours], seconds, strict=True)]
            print(
                f"    {loader.name:20} {statistics.median(seconds) * 1e3:7.2f} ms, "
                f"{1 / statistics.median(seconds):6.1f} clips/s, "
                f"{statistics.median(ratios):5.2f} x ours",
                flush=True,
            )


class Clips(torch.utils.data.Dataset):
    """Random clips of some films, each of which stays open."""

    def __init__(self, paths, size, starts):
        self.paths, self.size, self.starts = paths, size, starts
        self.open = functools.lru_cache(len(paths))(lambda path: Ours(path, size))

    def __len__(self):
        return len(self.starts)

    def __getitem__(self, index):
        return self.open(self.paths[index % len(self.paths)]).read(self.starts[index])


def scale(paths, size, starts, workers):
    for n in workers:
        loader = DataLoader(
            Clips(paths, size, starts),
            8,
            num_workers=n,
            multiprocessing_context="fork" if n else None,
        )
        batches = iter(loader)
        next(batches)  # workers have started and opened their files
        begin = time.perf_counter()
        n_clips = sum(len(frames) for frames, _ in batches)
        print(f"  {n} workers: {n_clips / (time.perf_counter() - begin):6.1f} clips/s", flush=True)


@contextlib.contextmanager
def timed(spent, stage, owner, name):
    """Add the time inside owner.name to spent[stage]."""
    original = getattr(owner, name)

    def wrapper(*args, **kwargs):
        begin = time.process_time()
        try:
            return original(*args, **kwargs)
        finally:
            key = stage(*args) if callable(stage) else stage
            spent[key] += time.process_time() - begin

    setattr(owner, name, wrapper)
    try:
        yield
    finally:
        setattr(owner, name, original)


def where_time_goes(path, size, starts, log_mel):
    spent = collections.Counter()
    copies = 8  # in the batch that is collated, of which a clip answers for one

    def kind(reader, packet, *_):
        return f"decode {packet.stream.type}"

    watched = [
        ("open", MediaReader, "_open"),
        ("seek", MediaReader, "_seek"),
        (kind, MediaReader, "decode"),
        ("convert", MediaReader, "picture"),
    ]
    with contextlib.ExitStack() as stack:
        for stage, owner, name in watched:
            stack.enter_context(timed(spent, stage, owner, name))
        stack.enter_context(timed(spent, "resample", sound, "resample"))
        begin = time.process_time()
        for start_s in starts:
            source = Ours(path, size)
            frames, wave = source.read(start_s)
            with timed(spent, "log-mel", log_mel, "forward"):
                log_mel(wave[None])
            middle = time.process_time()
            torch.stack([frames] * copies)
            collating = time.process_time() - middle
            spent["collate"] += collating / copies
            begin += collating * (1 - 1 / copies)
            source.close()
        spent["rest (demux, Python)"] = time.process_time() - begin - sum(spent.values())
    total = sum(spent.values())
    for stage, seconds in spent.most_common():
        print(f"    {stage:22} {seconds / len(starts) * 1e3:6.2f} ms {seconds / total:5.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=24, help="clips per round and loader")
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--keyframes", type=int, nargs="+", default=[30, 250])
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    log_mel = LogMelSpectrogram(RATE, 512, 320, 160, n_mels=40)
    names = ", ".join(loader.name for loader in loaders())
    print(
        f"torch {torch.__version__}, PyAV {av.__version__}, {platform.machine()}, 1 thread: {names}"
    )
    # On the grid of frames, so that every loader is asked for the same ones.
    grid = np.random.default_rng(0).integers(FPS, (FILM_S - 2) * FPS, 200)
    starts = [int(n) / FPS for n in grid]
    with tempfile.TemporaryDirectory() as folder:
        films = {k: write_film(Path(folder) / f"{k}.mp4", k, seed=k) for k in args.keyframes}
        for (interval, path), size in itertools.product(films.items(), args.sizes):
            kilobits = Path(path).stat().st_size * 8 / 1000 / FILM_S
            print(f"key frame every {interval}, {size} px ({kilobits:.0f} kbit/s):")
            compare(path, size, starts[:4])
            race(path, size, starts[: args.clips], args.rounds, log_mel)
            print("  where our time goes, opened per clip:")
            where_time_goes(path, size, starts[: args.clips], log_mel)
        print("worker processes, 112 px, kept open:")
        scale(list(films.values()), 112, starts, args.workers)


if __name__ == "__main__":
    main()
