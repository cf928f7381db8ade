"""`avts evaluate sync` and `retrieval`: how well the two towers agree."""

from __future__ import annotations

from pathlib import Path

from avts_ext.cli.outputs import check_outputs, command_line, print_and_save
from avts_ext.data import open_index
from avts_ext.evaluation.correspondence import offset_table, score_retrieval, score_sync
from avts_ext.evaluation.plots import write_offset_plot
from avts_ext.evaluation.recordings import open_entry
from avts_ext.evaluation.sync_sets import MIN_GAP_S, SyncSet, make_sync_set, read_sync_set
from avts_ext.models.avts import AVTS

__all__ = ["evaluate_retrieval", "evaluate_sync"]


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
        data: Manifest, made by `avts index`, of videos that it was not trained on.
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
    check_outputs(out, plot)
    model = AVTS.load(checkpoint, device)
    asked = _sync_set(model, data, Path(questions), n_questions, max_media, seed)
    results, by_offset = score_sync(model, asked, cache_dir, seed, command_line())
    print_and_save(results, out)
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
        data: Manifest, made by `avts index`, of videos that it was not trained on.
        max_media: Media to choose among, chosen by their paths.
        cache_dir: Folder in which decoded media are kept for the next run.
        device: As torch names it.
        out: JSON file for the results.
        seed: Of the random network.
    """
    check_outputs(out)
    model = AVTS.load(checkpoint, device)
    spec = model.config.clip
    entries, skipped = open_index(data, min_duration_s=spec.duration_s + 1 / spec.sample_rate)
    print(f"{data}: {len(entries)} media; {skipped}")
    chosen = sorted(entries, key=lambda entry: entry.media_id)[:max_media]
    recordings = [open_entry(entry, spec, cache_dir) for entry in chosen]
    print_and_save(score_retrieval(model, recordings, seed, command_line()), out)
