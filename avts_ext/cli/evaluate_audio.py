"""`avts evaluate esc50` and `dcase2014`: what a frozen audio tower knows of sounds."""

from __future__ import annotations

from collections.abc import Callable

from avts_ext.cli.outputs import check_outputs, command_line, print_and_save
from avts_ext.evaluation.audio_transfer import audio_transfer
from avts_ext.evaluation.features import FeatureSettings
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.reference import reference_table
from avts_ext.models.avts import AVTS

__all__ = ["evaluate_dcase2014", "evaluate_esc50"]


def _verb(name: str, title: str, folder: str, clips_of_a_recording: int) -> Callable[..., None]:
    """The verb of one data set: both have the same options."""

    def evaluate(
        checkpoint: str,
        data: str,
        clip_s: float = 2.0,
        n_clips: int = clips_of_a_recording,
        random_networks: int = 1,
        allow_partial: bool = False,
        cache_dir: str | None = None,
        workers: int = 0,
        device: str = "cpu",
        out: str | None = None,
        seed: int = 0,
    ) -> None:
        """Score frozen audio features on {title}.

        Prints a table, pooled and flattened conv5 features beside random networks, and the
        published figures.

        Args:
            checkpoint: A model that pretraining saved.
            data: Folder of the data set, with {folder}; or the manifest that `avts index` made
                of it.
            clip_s: Length of a clip.
            n_clips: Clips of a recording, evenly spread; their scores are averaged.
            random_networks: Networks that have learned nothing, scored beside; with several, their
                spread is told.
            allow_partial: Score what is there of an incomplete set, with its coverage in the
                record.
            cache_dir: Folder in which features are kept for the next run.
            workers: Processes that decode; 0 decodes in the main one.
            device: As torch names it.
            out: JSON file for the results.
            seed: Of the record, for `avts results`, and of the random networks.
        """
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

    evaluate.__doc__ = (evaluate.__doc__ or "").format(title=title, folder=folder)
    return evaluate


evaluate_esc50 = _verb(
    "esc50", "ESC-50: linear SVMs on clips, 5 official folds", "`meta/esc50.csv` and `audio/`", 10
)
evaluate_dcase2014 = _verb(
    "dcase2014",
    "DCASE2014 scenes: linear SVMs on clips, train and test set",
    "`scenes_stereo/` and `scenes_stereo_testset/`",
    60,
)
