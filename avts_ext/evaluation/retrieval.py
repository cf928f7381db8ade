"""Retrieval: given a sound, find its picture among those of other media, and the other way round.

Protocol "retrieval/1": of every medium one clip, from the middle of its longest stretch. A query is
answered by all N clips of the other modality in the order of their distance; recall at k is the
share of queries whose own clip is among the first k. Ties count as if broken by lot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from avts_ext.evaluation.inference import inference
from avts_ext.evaluation.recordings import Recording
from avts_ext.models.avts import AVTS

__all__ = ["RANKS", "embed_middles", "recall_at"]

RANKS = (1, 5, 10)


def embed_middles(
    model: AVTS, recordings: Sequence[Recording], batch_size: int = 32
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings (N, D) of picture and of sound of the clip in the middle of each recording."""
    spec, device = model.config.clip, next(model.parameters()).device
    video, audio = [], []
    with inference(model):
        for begin in range(0, len(recordings), batch_size):
            clips = [
                r.source.read_clip(r.start_s + (r.usable_s(spec) - spec.duration_s) / 2, spec)
                for r in recordings[begin : begin + batch_size]
            ]
            video.append(model.embed_video(torch.stack([c.frames for c in clips]).to(device)))
            audio.append(model.embed_audio(torch.stack([c.waveform for c in clips]).to(device)))
    return torch.cat(video).cpu().numpy(), torch.cat(audio).cpu().numpy()


def recall_at(
    queries: NDArray[np.floating], answers: NDArray[np.floating], ranks: Sequence[int] = RANKS
) -> list[float]:
    """Share of queries whose own answer, the one of the same row, is among the nearest k.

    Args:
        queries, answers: (N, D) embeddings, finite.
        ranks: values of k, at least 1.

    Returns:
        For each k the recall in [0, 1]; chance is k / N.

    Raises:
        ValueError: shapes differ, no row, or values that are not finite.
    """
    if queries.ndim != 2 or queries.shape != answers.shape or len(queries) == 0:
        raise ValueError(f"answers: got shape {answers.shape} for queries of {queries.shape}")
    if not (np.isfinite(queries).all() and np.isfinite(answers).all()):
        raise ValueError("queries, answers: got NaN or infinity, expected finite embeddings")
    if min(ranks) < 1:
        raise ValueError(f"ranks: got {min(ranks)}, expected at least 1")
    nearer, tied = [], []
    for row, query in enumerate(queries.astype(np.float64)):
        distances = np.linalg.norm(answers - query, axis=1)
        nearer.append(int((distances < distances[row]).sum()))
        tied.append(int((distances == distances[row]).sum()))
    # Of `tied` equal answers, the own one is at each of their places equally often.
    return [float(np.clip((k - np.array(nearer)) / np.array(tied), 0, 1).mean()) for k in ranks]
