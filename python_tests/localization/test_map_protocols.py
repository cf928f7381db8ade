import json

import numpy as np
import pytest

from avts_ext.localization.annotations import read_annotations
from avts_ext.localization.protocols import (
    consensus_iou,
    consensus_map,
    detection_scores,
    score_map,
    success_auc,
)


def test_consensus_map_by_hand():
    boxes = [[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5], [0.25, 0.25, 1.5, 0.5]]
    expected = [[0.5, 1, 0.5, 0], [0.5, 1, 1, 0.5], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert consensus_map(np.array(boxes), (4, 4), votes=2).tolist() == expected
    union = consensus_map(np.array(boxes), (4, 4))
    assert union.tolist() == np.ceil(expected).tolist()


def test_consensus_iou_by_hand():
    truth = np.array([[1, 0.5, 0, 0]])
    # Found: 1 and one pixel outside: 1 / (1.5 + 1).
    assert consensus_iou(np.array([[True, False, True, False]]), truth) == pytest.approx(0.4)
    assert consensus_iou(truth > 0, truth) == 1
    assert consensus_iou(truth < 0, truth) == 0
    with pytest.raises(ValueError, match="truth"):
        consensus_iou(truth > 0, 0 * truth)


def test_scores_of_a_map_by_hand():
    heat = np.array([[8.0, 7, 3, 1], [5, 2, 2, 0]])
    truth = np.array([[1.0, 1, 0, 0], [0, 0, 1, 0]])
    score = score_map(heat, truth)
    assert score.pointing and score.strength == 8
    # Above 4: 8, 7 and, outside, 5.
    assert score.ciou == pytest.approx(2 / (3 + 1))
    # Sorted 0 1 2 2 3 5 7 8: above the one at place 4, 3: the same three.
    assert score.median_ciou == pytest.approx(2 / 4)
    # The three highest: the same again.
    assert score.sized_ciou == pytest.approx(2 / 4)


def test_whole_picture_and_nothing():
    truth = np.zeros((4, 4))
    truth[0, 0] = 1
    everything = score_map(np.ones((4, 4)), truth)
    assert everything.ciou == 1 / 16 and everything.sized_ciou == 1 / 16
    nothing = score_map(np.zeros((4, 4)), truth)
    assert (nothing.ciou, nothing.pointing, nothing.strength) == (0, False, 0)


def test_median_rule_cannot_be_won_on_small_objects():
    """The documented limit: an eighth of the picture, found exactly, scores 1 / 4."""
    truth = np.zeros((8, 8))
    truth[0] = 1
    heat = truth + np.linspace(0, 0.4, 64).reshape(8, 8)
    score = score_map(heat, truth)
    assert score.sized_ciou == 1 and score.ciou == 1
    assert score.median_ciou == pytest.approx(8 / 31)  # above the median are 31 of 64 pixels


def test_auc_by_hand():
    assert success_auc([1.0]) == 1
    # Reaches 0, ..., 0.5: eleven of 21 thresholds, ten whole steps of the integral and a half.
    assert success_auc([0.5]) == pytest.approx(10.5 / 20)
    assert success_auc([0.15, 0.15]) == pytest.approx(3.5 / 20)
    assert success_auc([0.0]) == pytest.approx(0.5 / 20)
    assert success_auc([0.5, 1.0]) == pytest.approx((10.5 + 20) / 40)
    with pytest.raises(ValueError, match="cious"):
        success_auc([])


def test_detection_by_hand():
    strength = np.array([5.0, 4, 3, 2])
    right = np.array([True, False, True, False])
    sounding = np.array([True, False, True, True])
    # Precision 1, 1/2, 2/3, 1/2 at recall 1/3, 1/3, 2/3, 2/3.
    average, f1 = detection_scores(strength, right, sounding)
    assert average == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert f1 == pytest.approx(2 / 3)
    # Claims of equal strength come together.
    assert detection_scores(np.ones(4), right, sounding)[0] == pytest.approx(2 / 3 * 1 / 2)
    with pytest.raises(ValueError, match="sounding"):
        detection_scores(strength, right, ~sounding)


def test_map_scores_reject():
    with pytest.raises(ValueError, match="truth: got shape"):
        score_map(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="finite"):
        score_map(np.full((2, 2), np.nan), np.ones((2, 2)))


FLICKR = """<annotation><filename>a.jpg</filename><object>
<bbox><id>1</id><xmin>64</xmin><ymin>0</ymin><xmax>256</xmax><ymax>128</ymax></bbox>
<bbox><id>2</id><xmin>0</xmin><ymin>0</ymin><xmax>128</xmax><ymax>256</ymax></bbox>
</object></annotation>"""


def test_flickr_soundnet_format(tmp_path):
    (tmp_path / "123.xml").write_text(FLICKR)
    found = read_annotations(tmp_path, "flickr-soundnet")
    assert found.votes == 2 and list(found.boxes) == ["123"]
    assert found.boxes["123"].tolist() == [[0.25, 0, 1, 0.5], [0, 0, 0.5, 1]]
    (tmp_path / "bad.xml").write_text("<annotation><bbox><x>1</x></bbox></annotation>")
    with pytest.raises(ValueError, match=r"bad\.xml holds no boxes"):
        read_annotations(tmp_path, "flickr-soundnet")


def test_vgg_ss_format(tmp_path):
    path, row = tmp_path / "vggss.json", {"file": "abc_000030", "class": "dog"}
    path.write_text(json.dumps([{**row, "bbox": [[0.1, 0.2, 0.5, 0.6], [-0.1, 0, 1.1, 1]]}]))
    found = read_annotations(path, "vgg-ss")
    assert found.votes == 1
    assert found.boxes["abc_000030"].tolist() == [[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]]
    for bad in ({}, [{**row}], [{**row, "bbox": []}], [{**row, "bbox": [[0.5, 0, 0.2, 1]]}]):
        path.write_text(json.dumps(bad) if bad else "no json")
        with pytest.raises(ValueError, match=r"vggss\.json"):
            read_annotations(path, "vgg-ss")


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="format: got 'coco'"):
        read_annotations(tmp_path, "coco")
