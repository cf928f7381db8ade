"""`avts evaluate esc50` and `dcase2014`: what a frozen audio tower knows of sounds."""

from __future__ import annotations

from avts_ext.cli.outputs import check_outputs, command_line, print_and_save
from avts_ext.evaluation.audio_transfer import audio_transfer
from avts_ext.evaluation.features import FeatureSettings
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.reference import reference_table
from avts_ext.models.avts import AVTS

__all__ = ["evaluate_dcase2014", "evaluate_esc50"]


def evaluate_esc50(
    checkpoint: str,
    data: str,
    clip_s: float = 2.0,
    n_clips: int = 10,
    random_networks: int = 3,
    allow_partial: bool = False,
    cache_dir: str | None = None,
    workers: int = 0,
    device: str = "cpu",
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Score frozen audio features on ESC-50: linear SVMs on clips, 5 official folds.

    Prints a table, pooled and flattened conv5 features beside random networks, and the published
    figures.

    Args:
        checkpoint: A model that pretraining saved.
        data: Folder of the data set, with `meta/esc50.csv` and `audio/`.
        clip_s: Length of a clip.
        n_clips: Clips of a recording, evenly spread; their scores are averaged.
        random_networks: Networks that have learned nothing, scored beside.
        allow_partial: Score what is there of an incomplete set, with its coverage in the record.
        cache_dir: Folder in which features are kept for the next run.
        workers: Processes that decode; 0 decodes in the main one.
        device: As torch names it.
        out: JSON file for the results.
        seed: Of the record, for `avts results`, and of the random networks.
    """
    _audio_transfer("esc50", **locals())


def evaluate_dcase2014(
    checkpoint: str,
    data: str,
    clip_s: float = 2.0,
    n_clips: int = 60,
    random_networks: int = 3,
    allow_partial: bool = False,
    cache_dir: str | None = None,
    workers: int = 0,
    device: str = "cpu",
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Score frozen audio features on DCASE2014 scenes: linear SVMs on clips, train and test set.

    Prints a table, pooled and flattened conv5 features beside random networks, and the published
    figures.

    Args:
        checkpoint: A model that pretraining saved.
        data: Folder of the data set, with `scenes_stereo/` and `scenes_stereo_testset/`.
        clip_s: Length of a clip.
        n_clips: Clips of a recording, evenly spread; their scores are averaged.
        random_networks: Networks that have learned nothing, scored beside.
        allow_partial: Score what is there of an incomplete set, with its coverage in the record.
        cache_dir: Folder in which features are kept for the next run.
        workers: Processes that decode; 0 decodes in the main one.
        device: As torch names it.
        out: JSON file for the results.
        seed: Of the record, for `avts results`, and of the random networks.
    """
    _audio_transfer("dcase2014", **locals())


def _audio_transfer(
    name: str,
    checkpoint: str,
    data: str,
    clip_s: float,
    n_clips: int,
    random_networks: int,
    allow_partial: bool,
    cache_dir: str | None,
    workers: int,
    device: str,
    out: str | None,
    seed: int,
) -> None:
    check_outputs(out)
    settings = FeatureSettings("audio", clip_s, n_clips)
    recordings = open_labelled(name, data, allow_partial=allow_partial)
    results = audio_transfer(
        AVTS.load(checkpoint, device),
        recordings,
        settings,
        random_networks=random_networks,
        allow_partial=allow_partial,
        seed=seed,
        cache_dir=cache_dir,
        workers=workers,
        command=command_line(),
    )
    print_and_save(results, out)
    print(reference_table(name))
