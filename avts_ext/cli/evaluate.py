"""The verb `evaluate`: one function for each kind of data."""

from __future__ import annotations

from avts_ext.cli.evaluate_actions import evaluate_hmdb51, evaluate_ucf101
from avts_ext.cli.evaluate_audio import evaluate_dcase2014, evaluate_esc50
from avts_ext.cli.evaluate_towers import evaluate_retrieval, evaluate_sync
from avts_ext.cli.localize import evaluate_localization
from avts_ext.cli.outputs import check_outputs, command_line, print_and_save
from avts_ext.cli.sync import evaluate_sync_report
from avts_ext.demo.scores import HeldOut, place_results, score_results
from avts_ext.evaluation.recordings import untrained_network
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
    check_outputs(out)
    model = AVTS.load(checkpoint)
    videos = open_world(data, model.config.clip, cache_dir)
    if not 0 < labelled_videos < len(videos):
        raise ValueError(
            f"labelled_videos: got {labelled_videos}, expected between 1 and "
            f"{len(videos) - 1}, because {data!r} holds {len(videos)} videos"
        )
    held_out = HeldOut(videos[:labelled_videos], videos[labelled_videos:])
    untrained = untrained_network(model, held_out.labelled.recordings, seed)
    command = command_line()
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
    print_and_save(results, out)


TASKS = {
    "world": evaluate_world,
    "esc50": evaluate_esc50,
    "dcase2014": evaluate_dcase2014,
    "sync": evaluate_sync,
    "retrieval": evaluate_retrieval,
    "sync_report": evaluate_sync_report,
    "ucf101": evaluate_ucf101,
    "hmdb51": evaluate_hmdb51,
    "localization": evaluate_localization,
}
