"""Files as the two towers might see them, with known offsets and no network."""

import numpy as np

from avts_ext.sync_report.windows import Windows

STEP_S = 1 / 32
DIM = 16


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def course(times_s, seed):
    """(N, DIM) unit vectors: a smooth random course through embedding space."""
    rng = np.random.default_rng(seed)
    rate_hz, phase = rng.uniform(0.3, 1.5, DIM), rng.uniform(0, 2 * np.pi, DIM)
    return unit(np.sin(2 * np.pi * rate_hz * times_s[:, None] + phase))


def windows(offset_s=0.0, duration_s=6.0, seed=0, noise=0.3, drift=0.0, lead_s=0.0):
    """Sound that is late by ``offset_s`` in the middle and by ``drift`` more every second."""
    n_audio = int(duration_s / STEP_S)
    audio_s = np.arange(n_audio) * STEP_S
    video_s = audio_s[::2]
    heard_s = audio_s - offset_s - drift * (audio_s - duration_s / 2)
    rng = np.random.default_rng(1000 + seed)

    def noisy(rows):
        return unit(rows + noise * rng.normal(size=rows.shape) / DIM**0.5).astype(np.float32)

    return Windows(
        step_s=STEP_S,
        video=noisy(course(video_s + lead_s, seed)),
        audio=noisy(course(heard_s, seed)),
        video_features=rng.normal(size=(len(video_s), 8)).astype(np.float32),
        audio_features=rng.normal(size=(n_audio, 8)).astype(np.float32),
        lead_s=lead_s,
        motion=np.full(len(video_s), 5, np.float32),
        level_db=np.full(n_audio, -20, np.float32),
    )
