"""`avts evaluate ucf101` and `hmdb51`: what a video tower knows of actions."""

from __future__ import annotations

from avts_ext.cli.outputs import check_outputs, command_line, print_and_save
from avts_ext.evaluation.action_training import ActionRecipe
from avts_ext.evaluation.action_transfer import action_transfer, beginnings
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.reference import reference_table
from avts_ext.models.avts import AVTS

__all__ = ["evaluate_hmdb51", "evaluate_ucf101"]


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
    check_outputs(out)
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
            command=command_line(),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on") from None
    print_and_save(results, out)
    print(reference_table(name))
