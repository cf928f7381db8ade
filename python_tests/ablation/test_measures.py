import dataclasses
import sys
from pathlib import Path

import pytest

from avts_ext.ablation import measures
from avts_ext.ablation.measures import MeasureConfig, Measures
from avts_ext.data import ClipSpec
from avts_ext.models.avts import AVTS, AVTSConfig
from avts_ext.world import generate

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from published import write_dcase2014


def test_scores_on_a_world(monkeypatch):
    generate("world", 35, seed=1, progress=False)
    config = MeasureConfig(
        world="world", world_labelled=25, per_class=2, draws=1, n_questions=10, cache_dir="cache"
    )
    model = AVTS(AVTSConfig()).eval()
    scores = Measures(config, ClipSpec()).score(model, seed=0)
    assert list(scores) == ["sync_hard", "audio_probe"]
    assert (scores["sync_hard"].n, scores["audio_probe"].n) == (10, 10)
    asked = []

    def finetuned(model, labelled, test, *, per_class, draws, seed):
        asked.append((len(labelled), len(test), per_class, draws, seed))
        return scores["audio_probe"]

    monkeypatch.setattr(measures, "finetuned_accuracy", finetuned)
    tuned = dataclasses.replace(config, finetune_per_class=4)
    assert list(Measures(tuned, ClipSpec()).score(model, seed=3))[2:] == ["finetune"]
    assert asked == [(25, 10, 4, 1, 3)]


def test_scores_on_recordings(tmp_path, monkeypatch):
    write_dcase2014(tmp_path / "scenes", duration_s=2.1)
    monkeypatch.setitem(measures.CLIPS_OF, "dcase2014", 1)
    opened = Measures(MeasureConfig(dcase2014="scenes"), ClipSpec())
    (name, score), *none = opened.score(AVTS(AVTSConfig()).eval(), seed=0).items()
    assert (name, score.n, none) == ("dcase2014", 100, [])
    assert score.value > 0.8 and score.interval[0] < score.value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world": "nothing"}, "nothing"),
        ({"esc50": "nothing"}, "esc50.csv"),
        ({"dcase2014": "nothing"}, "scenes_stereo"),
    ],
)
def test_data_that_is_not_there_is_refused_before_any_training(options, message):
    with pytest.raises(OSError, match=message):
        Measures(MeasureConfig(**options), ClipSpec())


@pytest.mark.parametrize("labelled", [0, 4])
def test_there_must_be_videos_left_to_test(labelled):
    generate("world", 4, seed=1, progress=False)
    config = MeasureConfig(world="world", world_labelled=labelled)
    with pytest.raises(ValueError, match=f"world_labelled: got {labelled}, expected between 1 and"):
        Measures(config, ClipSpec())
