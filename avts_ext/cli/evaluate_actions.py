"""`avts evaluate ucf101` and `hmdb51`: what a video tower knows of actions."""

from __future__ import annotations

from collections.abc import Callable

from avts_ext.cli.outputs import check_outputs, command_line, print_and_save
from avts_ext.evaluation.action_training import ActionRecipe
from avts_ext.evaluation.action_transfer import action_transfer, beginnings
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.reference import reference_table
from avts_ext.models.avts import AVTS

__all__ = ["evaluate_hmdb51", "evaluate_ucf101"]


def _verb(name: str, title: str, lists: str) -> Callable[..., None]:
    """The verb of one data set: both have the same options."""

    def evaluate(
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
        """Fine-tune the whole video tower on {title}, 3 official splits; clip and video accuracy.

        Under one recipe from the pretrained tower, from scratch, and from a tower trained on
        labels. After an interruption, the same command goes on from the last finished epoch.

        Args:
            checkpoint: A model that pretraining saved.
            data: Folder of the data set, with {lists} and the videos; or the manifest that
                `avts index` made of it.
            out_dir: Folder of the runs.
            recipe: How to fine-tune.
            scratch: Fine-tune a tower with random weights too.
            supervised: File with the weights of a tower trained on labels, as torchvision hands
                them out for models of the same name, to be fine-tuned too.
            splits: Which of the official splits.
            allow_partial: Score what is there of an incomplete set, with its coverage in the
                record.
            workers: Processes that decode; 0 decodes in the main one.
            device: As torch names it.
            out: JSON file for the results.
        """
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

    evaluate.__doc__ = (evaluate.__doc__ or "").format(title=title, lists=lists)
    return evaluate


evaluate_ucf101 = _verb("ucf101", "UCF101", "`ucfTrainTestlist/`")
evaluate_hmdb51 = _verb("hmdb51", "HMDB51", "`*_test_split1.txt` and kin")
