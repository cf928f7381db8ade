"""The verb `evaluate`: one function for each kind of data."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from avts_ext.cli.localize import evaluate_localization
from avts_ext.cli.sync import evaluate_sync_report
from avts_ext.data import open_index
from avts_ext.demo.scores import HeldOut, place_results, score_results
from avts_ext.evaluation.action_training import ActionRecipe
from avts_ext.evaluation.action_transfer import action_transfer, beginnings
from avts_ext.evaluation.audio_transfer import audio_transfer
from avts_ext.evaluation.correspondence import offset_table, score_retrieval, score_sync
from avts_ext.evaluation.features import FeatureSettings
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.plots import check_plot_path, write_offset_plot
from avts_ext.evaluation.recordings import longest_stretch, open_recording, untrained_network
from avts_ext.evaluation.reference import reference_table
from avts_ext.evaluation.report import Result, markdown_table, save_results
from avts_ext.evaluation.sync_sets import MIN_GAP_S, SyncSet, make_sync_set, read_sync_set
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
    _check_outputs(out)
    model = AVTS.load(checkpoint)
    videos = open_world(data, model.config.clip, cache_dir)
    if not 0 < labelled_videos < len(videos):
        raise ValueError(
            f"labelled_videos: got {labelled_videos}, expected between 1 and "
            f"{len(videos) - 1}, because {data!r} holds {len(videos)} videos"
        )
    held_out = HeldOut(videos[:labelled_videos], videos[labelled_videos:])
    untrained = untrained_network(model, held_out.labelled.recordings, seed)
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
    _check_outputs(out)
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


def evaluate_sync(
    checkpoint: str,
    data: str,
    questions: str = "sync_questions.json",
    n_questions: int = 600,
    max_media: int = 300,
    cache_dir: str | None = None,
    device: str = "cpu",
    plot: str | None = None,
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Ask which of two sounds belongs to a clip: of another medium, far off, overlapping, mixed.

    Prints accuracy and area under the ROC curve by kind of question, beside a random network, and
    accuracy by the offset of the wrong sound.

    Args:
        checkpoint: A model that pretraining saved.
        data: Folder or manifest of videos that it was not trained on.
        questions: File of the questions. Written if it is not there; otherwise asked again, and
            `data` is not looked at.
        n_questions: Questions of each kind; for a new file.
        max_media: Media that are asked about, chosen by their paths; for a new file.
        cache_dir: Folder in which decoded media are kept for the next run.
        device: As torch names it.
        plot: File for the plot of accuracy by offset, ending in .svg, .png or .pdf.
        out: JSON file for the results.
        seed: Of new questions and of the random network.
    """
    _check_outputs(out, plot)
    model = AVTS.load(checkpoint, device)
    asked = _sync_set(model, data, Path(questions), n_questions, max_media, seed)
    results, by_offset = score_sync(model, asked, cache_dir, seed, _command())
    _print_and_save(results, out)
    print(offset_table(by_offset))
    if plot is not None:
        write_offset_plot(by_offset, plot)
        print(f"plot: {plot}")


def _sync_set(
    model: AVTS, data: str, questions: Path, n_questions: int, max_media: int, seed: int
) -> SyncSet:
    if questions.exists():
        return read_sync_set(questions)
    spec = model.config.clip
    entries, skipped = open_index(data, min_duration_s=2 * spec.duration_s + MIN_GAP_S)
    print(f"{data}: {len(entries)} media; {skipped}")
    # Ids are hashes of paths: a choice by them is spread over the folder.
    chosen = sorted(entries, key=lambda entry: entry.media_id)[:max_media]
    return make_sync_set(chosen, spec, n_questions, questions, seed)


def evaluate_retrieval(
    checkpoint: str,
    data: str,
    max_media: int = 1000,
    cache_dir: str | None = None,
    device: str = "cpu",
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Find the picture that belongs to a sound among those of other media, and back.

    Prints recall at 1, 5 and 10 both ways, one clip of each medium, beside a random network and
    chance.

    Args:
        checkpoint: A model that pretraining saved.
        data: Folder or manifest of videos that it was not trained on.
        max_media: Media to choose among, chosen by their paths.
        cache_dir: Folder in which decoded media are kept for the next run.
        device: As torch names it.
        out: JSON file for the results.
        seed: Of the random network.
    """
    _check_outputs(out)
    model = AVTS.load(checkpoint, device)
    spec = model.config.clip
    entries, skipped = open_index(data, min_duration_s=spec.duration_s + 1 / spec.sample_rate)
    print(f"{data}: {len(entries)} media; {skipped}")
    chosen = sorted(entries, key=lambda entry: entry.media_id)[:max_media]
    recordings = [
        open_recording(entry.path, *longest_stretch(entry), spec, cache_dir) for entry in chosen
    ]
    _print_and_save(score_retrieval(model, recordings, seed, _command()), out)


def evaluate_ucf101(
    checkpoint: str,
    data: str,
    out_dir: str,
    recipe: ActionRecipe = ActionRecipe(),  # noqa: B008 (frozen)
    scratch: bool = True,
    supervised: str | None = None,
    splits: tuple[int, ...] = (1, 2, 3),
    allow_partial: bool = False,
    workers: int = 0,
    device: str = "cpu",
    out: str | None = None,
) -> None:
    """Fine-tune the whole video tower on UCF101, 3 official splits; clip and video accuracy.

    Under one recipe from the pretrained tower, from scratch, and from a tower trained on labels.
    After an interruption, the same command goes on from the last finished epoch.

    Args:
        checkpoint: A model that pretraining saved.
        data: Folder of the data set, with `ucfTrainTestlist/` and the videos.
        out_dir: Folder of the runs.
        recipe: How to fine-tune.
        scratch: Fine-tune a tower with random weights too.
        supervised: File with the weights of a tower trained on labels, as torchvision hands them
            out for models of the same name, to be fine-tuned too.
        splits: Which of the official splits.
        allow_partial: Score what is there of an incomplete set, with its coverage in the record.
        workers: Processes that decode; 0 decodes in the main one.
        device: As torch names it.
        out: JSON file for the results.
    """
    _action_transfer("ucf101", **locals())


def evaluate_hmdb51(
    checkpoint: str,
    data: str,
    out_dir: str,
    recipe: ActionRecipe = ActionRecipe(),  # noqa: B008
    scratch: bool = True,
    supervised: str | None = None,
    splits: tuple[int, ...] = (1, 2, 3),
    allow_partial: bool = False,
    workers: int = 0,
    device: str = "cpu",
    out: str | None = None,
) -> None:
    """Fine-tune the whole video tower on HMDB51, 3 official splits; clip and video accuracy.

    Under one recipe from the pretrained tower, from scratch, and from a tower trained on labels.
    After an interruption, the same command goes on from the last finished epoch.

    Args:
        checkpoint: A model that pretraining saved.
        data: Folder of the data set, with `*_test_split1.txt` and kin, and the videos.
        out_dir: Folder of the runs.
        recipe: How to fine-tune.
        scratch: Fine-tune a tower with random weights too.
        supervised: File with the weights of a tower trained on labels, as torchvision hands them
            out for models of the same name, to be fine-tuned too.
        splits: Which of the official splits.
        allow_partial: Score what is there of an incomplete set, with its coverage in the record.
        workers: Processes that decode; 0 decodes in the main one.
        device: As torch names it.
        out: JSON file for the results.
    """
    _action_transfer("hmdb51", **locals())


def _action_transfer(
    name: str,
    checkpoint: str,
    data: str,
    out_dir: str,
    recipe: ActionRecipe,
    scratch: bool,
    supervised: str | None,
    splits: tuple[int, ...],
    allow_partial: bool,
    workers: int,
    device: str,
    out: str | None,
) -> None:
    _check_outputs(out)
    videos = open_labelled(name, data, allow_partial=allow_partial)
    models = beginnings(AVTS.load(checkpoint, device), scratch, supervised, recipe.seed)
    try:
        results = action_transfer(
            models,
            videos,
            recipe,
            out_dir,
            splits=splits,
            workers=workers,
            allow_partial=allow_partial,
            command=_command(),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None
    _print_and_save(results, out)
    print(reference_table(name))


def _command() -> str:
    return "avts " + shlex.join(sys.argv[1:])


def _check_outputs(out: str | None, plot: str | None = None) -> None:
    """Refuse what could not be written before hours are spent on it."""
    if out is not None and not Path(out).parent.is_dir():
        raise FileNotFoundError(f"out: the folder {str(Path(out).parent)!r} is not there")
    if plot is not None:
        check_plot_path(plot)


def _print_and_save(results: list[Result], out: str | None) -> None:
    print(markdown_table(results))
    if out is not None:
        save_results(results, out)
        print(f"results: {out}")


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
