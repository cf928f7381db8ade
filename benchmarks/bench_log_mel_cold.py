"""Times the bare log-mel kernels, from cache and from memory, at every instruction set.

    python benchmarks/bench_log_mel_cold.py

Warm: the same four clips of two seconds again and again. Cold: a new part of an array far larger
than the caches for each call, as a training step sees it. Prints ns per frame on one thread, the
first decile over calls, which a busy machine disturbs least.
"""

import time

import numpy as np

from avts_ext._extension import _C
from avts_ext.ops.log_mel_spec import LogMelSpec, kernel_of

# name: n_fft, win_length, n_mels, at 16 kHz
CONFIGS = {"400/400, 80 mels": (400, 400, 80), "320/320, 40 mels": (320, 320, 40)}
SAMPLES, ITEMS, CALLS = 32000, 4, 256


def nanoseconds_per_frame(call, parts, frames) -> float:
    call(parts[0])
    times = []
    for part in parts:
        begin = time.perf_counter()
        call(part)
        times.append(time.perf_counter() - begin)
    return float(np.quantile(times, 0.1)) / ITEMS / frames * 1e9


def measure(spec: LogMelSpec) -> list[float]:
    kernel, frames = kernel_of(spec.key), spec.frames(SAMPLES)
    shape = (CALLS, ITEMS, spec.n_mels, frames)
    x = np.random.default_rng(0).random((CALLS, ITEMS, SAMPLES), dtype=np.float32)
    out, mel, grad = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros_like(x)

    def forward(i):
        kernel.forward(x[i], None, None, -1, out[i], None, 1)

    def forward_with_mel(i):
        kernel.forward(x[i], None, None, -1, out[i], mel[i], 1)

    def backward(i):
        kernel.backward(x[i], None, None, -1, mel[i], out[i], grad[i], 1)

    for i in range(CALLS):
        forward_with_mel(i)
    same, others = [0] * CALLS, list(range(CALLS))
    cases = ((forward, same), (forward, others), (backward, same), (backward, others))
    return [nanoseconds_per_frame(call, parts, frames) for call, parts in cases]


def main():
    print("| ns a frame | level | forward warm | cold | backward warm | cold |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, (n_fft, win_length, n_mels) in CONFIGS.items():
        spec = LogMelSpec(n_fft=n_fft, win_length=win_length, n_mels=n_mels, drop_last=False)
        for level in _C.cpu_levels():
            _C.set_cpu_level(level)
            cells = " | ".join(f"{value:.0f}" for value in measure(spec))
            print(f"| {name} | {level} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
