"""Times the log-mel spectrogram beside its peers: equality first, then interleaved rounds.

    python benchmarks/bench_log_mel.py --batch 1 64 --duration-s 2 10 --memory

Prints Markdown: for each configuration, direction and peer the median time of a call with the
spread of the middle half, the time per frame, and the median over rounds of a peer's time divided
by ours within a round, which is what stays meaningful on a machine that is not idle. In its turn
everyone makes one call untimed, so that none pays for the caches and the heap that the one before
left behind, and then as many as take 10 ms. A peer that is not installed, or cannot do a
configuration, is named. `--clock cpu` counts the time that the process was running on any thread,
for one thread on a busy machine. It charges a peer for threads of its own; so does the wall clock
if the process is pinned to one CPU (`taskset -c 1`). `--memory` adds the largest extra memory of a
call, over its result, each measured in a process of its own. `--into` puts the report into a page,
between two comments that name it.
"""

import argparse
import contextlib
import importlib.metadata
import io
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import page
import torch

import avts_ext
from avts_ext import LogMelSpectrogram

EPS = 1e-6
SETTLE_S = 0.005  # threads of the peer before spin after its call
TURN_S = 0.01


@dataclass(frozen=True)
class Config:
    """What is computed: ln(mel + EPS) with HTK filters, all frames kept."""

    sample_rate: int
    n_fft: int
    win_length: int
    hop_length: int
    n_mels: int


CONFIGS = {
    "400/400, 80 mels": Config(16000, 400, 400, 160, 80),
    "512/320, 40 mels": Config(16000, 512, 320, 160, 40),
    "512/400, 64 mels": Config(16000, 512, 400, 160, 64),
    "320/320, 40 mels": Config(16000, 320, 320, 160, 40),
    "1024/960, 40 mels, 48 kHz": Config(48000, 1024, 960, 480, 40),
}
WHISPER = Config(16000, 400, 400, 160, 80)


def ours(c: Config) -> Callable:
    return LogMelSpectrogram(
        c.sample_rate, c.n_fft, c.win_length, c.hop_length, n_mels=c.n_mels, eps=EPS,
        drop_last=False,
    )  # fmt: skip


def ours_on_one_thread(c: Config) -> Callable:
    threads, transform = torch.get_num_threads(), ours(c)

    def run(x: torch.Tensor) -> torch.Tensor:
        torch.set_num_threads(1)
        values = transform(x)
        torch.set_num_threads(threads)
        return values

    return run


def torchaudio(c: Config) -> Callable:
    import torchaudio

    mel = torchaudio.transforms.MelSpectrogram(
        c.sample_rate, c.n_fft, c.win_length, c.hop_length, n_mels=c.n_mels
    )
    return lambda x: (mel(x) + EPS).log()


def auvux(c: Config) -> Callable:
    import auvux.dsp

    mel = auvux.dsp.MelSpectrogram(
        sr=c.sample_rate, n_fft=c.n_fft, win_length=c.win_length, hop_length=c.hop_length,
        n_mels=c.n_mels, pad_mode="reflect", mel_scale="htk", mel_norm=None,
    )  # fmt: skip
    return lambda x: (mel(x) + EPS).log()


def librosa(c: Config) -> Callable:
    from librosa.feature import melspectrogram

    def run(x: torch.Tensor) -> torch.Tensor:
        mel = melspectrogram(
            y=x.numpy(), sr=c.sample_rate, n_fft=c.n_fft, win_length=c.win_length,
            hop_length=c.hop_length, n_mels=c.n_mels, htk=True, norm=None, pad_mode="reflect",
        )  # fmt: skip
        return torch.from_numpy(np.log(mel + np.float32(EPS)))

    return run


def ours_whisper(c: Config) -> Callable:
    if c != WHISPER:
        raise NotImplementedError("Whisper's preset is another configuration")
    return LogMelSpectrogram.from_preset("whisper")


def asrfront(c: Config) -> Callable:
    """The compiled entry point, into rows that are there."""
    if c != WHISPER:
        raise NotImplementedError("three models' fixed configurations")
    from asrfront._ext import WhisperFrontend

    frontend = WhisperFrontend(n_mels=80, pad_or_trim=False, n_threads=torch.get_num_threads())

    def run(x: torch.Tensor) -> torch.Tensor:
        out = torch.empty(len(x), 80, frontend.out_frames(x.shape[1]))
        frontend.log_mel_many(list(x.numpy()), list(out.numpy()))
        return out

    return run


# name: how to build it, its distribution, whom it is compared with, whether it has a gradient
CONTESTANTS = {
    "avts_ext": (ours, None, None, True),
    "one thread": (ours_on_one_thread, None, "avts_ext", False),
    "torchaudio": (torchaudio, "torchaudio", "avts_ext", True),
    "auvux-dsp": (auvux, "auvux-dsp", "avts_ext", True),
    "librosa": (librosa, "librosa", "avts_ext", False),
    "avts_ext whisper": (ours_whisper, None, None, False),
    "asrfront": (asrfront, "asrfront", "avts_ext whisper", False),
}
PEERS = [name for name, (_, distribution, _, _) in CONTESTANTS.items() if distribution]

# The project's aims: how many times faster than a peer. (configuration or "" for all, direction,
# batch, seconds, peer)
BARS = {
    ("400/400, 80 mels", "forward", 64, 2.0, "torchaudio"): 15,
    ("400/400, 80 mels", "forward", 64, 2.0, "asrfront"): 3,
    ("512/320, 40 mels", "forward", 64, 2.0, "torchaudio"): 15,
    ("512/320, 40 mels", "forward", 64, 2.0, "auvux-dsp"): 5,
    ("320/320, 40 mels", "forward", 64, 2.0, "torchaudio"): 10,
    ("", "forward", 64, 10.0, "torchaudio"): 30,
    ("", "forward", 1, 2.0, "torchaudio"): 12,
    ("", "forward", 64, 2.0, "one thread"): 1.8,
    ("", "forward", 64, 10.0, "one thread"): 1.8,
    ("400/400, 80 mels", "forward + backward", 64, 2.0, "torchaudio"): 14,
    ("400/400, 80 mels", "forward + backward", 64, 2.0, "auvux-dsp"): 14,
    ("512/320, 40 mels", "forward + backward", 64, 2.0, "auvux-dsp"): 5.5,
}


def forward(transform, x):
    with torch.no_grad():
        return transform(x)


def forward_backward(transform, x):
    x = x.detach().requires_grad_()
    values = transform(x)
    return torch.autograd.grad(values, x, torch.ones_like(values))[0]


DIRECTIONS = {"forward": forward, "forward + backward": forward_backward}


def contestants(peers: list[str], config: Config) -> dict[str, Callable]:
    """Ourselves and the peers that are installed and can do it."""
    found = {}
    for name, (build, _, _, _) in CONTESTANTS.items():
        if name in PEERS and name not in peers:
            continue
        if name == "one thread" and torch.get_num_threads() == 1:
            continue
        try:
            found[name] = build(config)
        except NotImplementedError as reason:
            print(f"- {name} left out: {reason}")
        except ImportError as error:
            print(f"- {name} left out: not installed ({error})")
    return found


def check_equality(found: dict[str, Callable], x: torch.Tensor) -> None:
    for name, transform in found.items():
        if (against := CONTESTANTS[name][2]) is not None:
            torch.testing.assert_close(transform(x), found[against](x), rtol=1e-4, atol=2e-3)


def time_rounds(found, run, x, rounds, clock) -> dict[str, list[float]]:
    """Seconds a call, one figure a round."""
    for transform in found.values():  # plans, threads
        run(transform, x)
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, transform in found.items():
            time.sleep(SETTLE_S)
            run(transform, x)
            times[name].append(time_calls(run, transform, x, clock))
    return times


def time_calls(run, transform, x, clock) -> float:
    calls, begin = 0, clock()
    while calls == 0 or clock() - begin < TURN_S:
        run(transform, x)
        calls += 1
    return (clock() - begin) / calls


def bar_of(config_name, direction, batch, seconds, peer) -> float | None:
    return BARS.get(
        (config_name, direction, batch, seconds, peer),
        BARS.get(("", direction, batch, seconds, peer)),
    )


def memory_status(key: str) -> int:
    """Bytes, from a line such as "VmHWM:  1234 kB"."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", text).group(1)) * 1024


def measure_memory(name: str, direction: str, config: Config, shape: tuple, queue) -> None:
    torch.set_num_threads(1)
    transform, run = CONTESTANTS[name][0](config), DIRECTIONS[direction]
    run(transform, torch.randn(1, config.sample_rate))
    x = torch.randn(shape)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_status("VmRSS")
    result = run(transform, x)
    extra = memory_status("VmHWM") - before - result.numel() * result.element_size()
    queue.put(max(0, extra))


def extra_memory(*task) -> str:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=measure_memory, args=(*task, queue))
    process.start()
    mib = queue.get() / 2**20
    process.join()
    return f"{mib:.1f}"


def report(args, config_name, config, batch, seconds) -> None:
    shape = (batch, round(seconds * config.sample_rate))
    x = torch.randn(shape) * 0.1
    print(f"\n### {config_name}: {batch} x {seconds:g} s\n")
    found = contestants(args.peers, config)
    check_equality(found, x[:2])
    frames = batch * (shape[1] // config.hop_length + 1)
    memory = [" extra MiB |", " ---: |"] if args.memory else ["", ""]
    print("\n| | ms (middle half) | ns a frame | ours is faster | of the aim |" + memory[0])
    print("| --- | ---: | ---: | ---: | ---: |" + memory[1])
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    for direction in args.directions:
        able = {n: t for n, t in found.items() if direction == "forward" or CONTESTANTS[n][3]}
        times = time_rounds(able, DIRECTIONS[direction], x, args.rounds, clock)
        for name, own in times.items():
            low, middle, high = statistics.quantiles(own, n=4)
            row = f"| {name}, {direction} | {middle * 1e3:.3f} ({low * 1e3:.3f}–{high * 1e3:.3f})"
            row += f" | {middle / frames * 1e9:.0f} |"
            against = CONTESTANTS[name][2]
            if against is None:
                row += " | |"
            else:
                pairs = zip(own, times[against], strict=True)
                ratio = statistics.median(theirs / our for theirs, our in pairs)
                bar = bar_of(config_name, direction, batch, seconds, name)
                row += (
                    f" {ratio:.1f}x | {'' if bar is None else f'{ratio / bar:.2f} of {bar:g}x'} |"
                )
            if args.memory:
                row += f" {extra_memory(name, direction, config, shape)} |"
            print(row, flush=True)


class Both:
    """The console and a text as one stream."""

    def __init__(self, text):
        self.streams = (sys.stdout, text)

    def write(self, text):
        for stream in self.streams:
            stream.write(text)

    def flush(self):
        for stream in self.streams:
            stream.flush()


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found.group(1) if found else platform.processor()


def versions() -> str:
    names = ["torch", *(d for _, d, _, _ in CONTESTANTS.values() if d)]
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--duration-s", type=float, nargs="+", default=[2.0])
    parser.add_argument(
        "--directions", nargs="+", default=list(DIRECTIONS), choices=list(DIRECTIONS)
    )
    parser.add_argument("--threads", type=int, default=1, help="for everyone; 0: all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--into", nargs=2, metavar=("PAGE", "NAME"))
    args = parser.parse_args()
    text = io.StringIO()
    with contextlib.redirect_stdout(Both(text)):
        run_all(parser, args)
    if args.into:
        page.put(*args.into, text.getvalue())


def run_all(parser, args) -> None:
    threads = args.threads or os.cpu_count()
    if args.clock == "cpu" and threads > 1:
        parser.error("--clock cpu adds up threads, expected --threads 1")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    level = avts_ext.build_info()["cpu_level"]
    print(
        f"{cpu_model()}, level {level}, {threads} threads, {args.clock} clock, {args.rounds} rounds"
    )
    print(f"\n{versions()}")
    for name in args.configs:
        for batch in args.batch:
            for seconds in args.duration_s:
                report(args, name, CONFIGS[name], batch, seconds)


if __name__ == "__main__":
    main()
