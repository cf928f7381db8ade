"""The verb `evaluate`: one function for each kind of data."""

from __future__ import annotations

import shlex
import sys

from avts_ext.demo.scores import HeldOut, place_results, score_results, untrained_network
from avts_ext.evaluation.audio_transfer import audio_transfer
from avts_ext.evaluation.features import FeatureSettings
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.reference import reference_table
from avts_ext.evaluation.report import Result, markdown_table, save_results
from avts_ext.evaluation.world_scores import open_world
from avts_ext.models.avts import AVTS


def evaluate_world(
    checkpoint: str,
    data: str,
    duets: str | None = None,
    labelled_videos: int = 200,
    n_questions: int = 300,
    draws: int = 3,
    cache_dir: str | None = None,
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Score a model on generated worlds that it was not trained on.

    Prints a table: sync accuracy by kind of negative, offset, linear probe, fine-tuning, and
    localization with its controls, each beside chance and the same on an untrained network.

    Args:
        checkpoint: A model that pretraining saved.
        data: Folder of a world of kind "solo", of another seed than the training world.
        duets: Folder of a world of kind "duet", for localization where one must listen.
        labelled_videos: So many videos from the beginning of `data` are what the probe and
            fine-tuning learn from; all others are tests.
        n_questions: Sync questions of each kind.
        draws: Draws of labelled examples.
        cache_dir: Folder in which decoded videos are kept for the next run.
        out: JSON file for the results.
        seed: Of questions, draws, and the untrained network.
    """
    model = AVTS.load(checkpoint)
    videos = open_world(data, model.config.clip, cache_dir)
    if not 0 < labelled_videos < len(videos):
        raise ValueError(
            f"labelled_videos: got {labelled_videos}, expected between 1 and "
            f"{len(videos) - 1}, because {data!r} holds {len(videos)} videos"
        )
    held_out = HeldOut(videos[:labelled_videos], videos[labelled_videos:])
    untrained = untrained_network(model, held_out.labelled, seed)
    command = _command()
    results = score_results(
        model,
        untrained,
        held_out,
        n_questions=n_questions,
        draws=draws,
        seed=seed,
        command=command,
    )
    results += place_results(model, untrained, held_out.test, "solo", seed=seed, command=command)
    if duets is not None:
        scenes = open_world(duets, model.config.clip, cache_dir)
        results += place_results(model, untrained, scenes, "duet", seed=seed, command=command)
    _print_and_save(results, out)


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
        seed: Of the random networks.
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
        seed: Of the random networks.
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
        command=_command(),
    )
    _print_and_save(results, out)
    print(reference_table(name))


def _command() -> str:
    return "avts " + shlex.join(sys.argv[1:])


def _print_and_save(results: list[Result], out: str | None) -> None:
    print(markdown_table(results))
    if out is not None:
        save_results(results, out)
        print(f"results: {out}")


TASKS = {"world": evaluate_world, "esc50": evaluate_esc50, "dcase2014": evaluate_dcase2014}
