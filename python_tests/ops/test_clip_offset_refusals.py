"""Wrong arguments of the sampler are refused by name; the operator and its fake refuse alike."""

import math

import pytest
import torch
from clip_offset_cases import EACH_KIND, seconds

from avts_ext.ops.clip_offset import ClipStarts, sample_clip_offsets

TABLE = {
    "media": torch.tensor([[3, 0, 0, 0], [4, 1, 0, 50], [0, 3, 0, 110]]),
    "ranges": torch.tensor([[0, 0], [0, 50], [90, 60], [0, 110]]),
    "query": torch.tensor([1, 0, 1]),
    "hard_distance": 20,
    "min_offset": 2,
    "max_offset": 9,
    "kind_bound": [2**30, 2**31, 3 * 2**30, 2**32],
    "seed": 7,
    "epoch": 1,
    "first_draw": 0,
    "draws": 4,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations_s": torch.ones(2)}, "durations_s is torch.float32"),
        (
            {"durations_s": seconds(5, 0.5)},
            r"durations_s\[1\] is 0.5, expected .* 1.0, to 1000000.0",
        ),
        ({"durations_s": seconds(5, math.nan)}, r"durations_s\[1\] is nan"),
        ({"durations_s": seconds(math.inf)}, r"durations_s\[0\] is inf"),
        pytest.param(
            {"query": torch.tensor([2])},
            "query is 2, expected an index below the number of media, 2",
            marks=pytest.mark.kernels("cpu"),  # a device finds it by other means
        ),
        pytest.param(
            {"query": torch.tensor([-1])},
            "query is -1, expected an index",
            marks=pytest.mark.kernels("cpu"),
        ),
        ({"query": torch.tensor([0.0])}, "query is torch.float32"),
        ({"query": torch.tensor(0)}, r"query is torch.int64 of shape \(\), expected 1-D"),
        ({"media_ids": torch.tensor([1])}, r"media_ids is .* \(1,\), expected one .* \(2,\)"),
        ({"valid_s": [[(0, 5)]]}, "valid_s has 1 elements, expected one per duration"),
        ({"valid_s": [[(0, 5)], [(2, 6.1)]]}, r"valid_s\[1\] has \(2, 6.1\), expected .* 6.0"),
        ({"valid_s": [[(3, 2)], [(0, 6)]]}, r"valid_s\[0\] has \(3, 2\)"),
        ({"valid_s": [[(0, 2), (2, 4)], [(0, 6)]]}, r"valid_s\[0\] has \(2, 4\), .* apart"),
        ({"valid_s": [[(0, math.nan)], [(0, 6)]]}, r"valid_s\[0\] has \(0, nan\)"),
        ({"valid_s": [[(0, 2)], []]}, r"valid_s\[1\] has 0 stretches and none with room"),
        ({"valid_s": [[(0, 0.5)], [(0, 6)]]}, r"valid_s\[0\] has 1 stretches"),
        ({"clip_s": 0.0}, "clip_s is 0.0, expected 1e-06 to"),
        ({"snap_s": -1.0}, "snap_s is -1.0"),
        ({"min_gap_s": -0.1}, "min_gap_s is -0.1"),
        ({"min_offset_s": math.inf}, "min_offset_s is inf"),
        ({"epoch": -1}, "epoch is -1, expected 0 to 2147483647"),
        ({"draws": -1}, "draws is -1"),
        ({"draws": 2, "first_draw": 2**32 - 1}, "draws is 2, expected 0 to 1"),
        ({"first_draw": -1}, "first_draw is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": 0.5}, "seed is 0.5, expected an integer"),
        ({"proportions": {}}, "expected finite weights"),
        ({"proportions": {"harder": 1}}, r"proportions names \['harder'\]"),
        ({"proportions": {"hard": 0}}, "expected finite weights"),
        ({"proportions": {"hard": math.nan}}, "expected finite weights"),
        ({"proportions": {"hard": -1, "easy": 2}}, "expected finite weights"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"durations_s": seconds(5, 6), "clip_s": 1.0, "seed": 0, **change}
    with pytest.raises(ValueError, match=message):
        sample_clip_offsets(arguments.pop("durations_s"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations": seconds(5)}, r"durations is torch.float64 of shape \(1,\), expected \(N,\)"),
        (
            {"durations": torch.tensor([9])},
            r"durations\[0\] is 9, expected .* 10, to 9007199254740992",
        ),
        ({"clip": 0}, "clip is 0, expected an integer, 1 to"),
        ({"snap": 0}, "snap is 0, expected an integer, 1 to"),
        ({"min_gap": -1}, "min_gap is -1, expected an integer, 0 to"),
        ({"min_offset": 2**60}, "min_offset is 1152921504606846976"),
        ({"valid": [[(0, 21)]]}, r"valid\[0\] has \(0, 21\), expected .* 20"),
        ({"valid": [[(1, 11)]], "snap": 8}, r"valid\[0\] has 1 stretches and none with room"),
        ({"valid": [[(0.5, 12)]]}, "valid has fractions of a tick, expected integers"),
        ({"clip": 1.5}, "clip is 1.5, expected an integer, 1 to"),
        ({"durations": torch.full((2000,), 2**53)}, r"durations give 2\^62 starts or more"),
    ],
)
def test_bad_ticks_are_named(change, message):
    arguments = {"durations": torch.tensor([20]), "clip": 10, "min_gap": 1, "min_offset": 1}
    with pytest.raises(ValueError, match=message):
        ClipStarts.in_ticks(**{**arguments, **change})


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"media": torch.zeros(3, 4)}, r"media is torch.float32 of shape \(3, 4\), expected"),
        ({"media": torch.tensor([0, 1])}, r"media is torch.int64 of shape \(2,\)"),
        (
            {"media": torch.zeros(0, 4).long()},
            r"media is .* \(0, 4\), expected .* \(1 or more, 4\)",
        ),
        ({"ranges": torch.zeros(3, 3).long()}, r"ranges is torch.int64 of shape \(3, 3\)"),
        ({"query": torch.tensor([1], dtype=torch.int32)}, "query is torch.int32"),
        ({"hard_distance": 0}, "hard_distance is 0, expected 1 to"),
        ({"min_offset": 0}, "min_offset is 0, expected 1 to"),
        ({"max_offset": -1}, "max_offset is -1, expected 0 to"),
        ({"epoch": 2**31}, "epoch is 2147483648, expected 0 to 2147483647"),
        ({"first_draw": 2**32}, "first_draw is 4294967296"),
        ({"draws": -3}, "draws is -3"),
        ({"kind_bound": [1, 2, 2**32]}, "kind_bound is .* expected 4 ascending"),
        ({"kind_bound": [5, 2, 3, 2**32]}, "kind_bound is .* expected 4 ascending"),
        ({"kind_bound": [-1, 2, 3, 2**32]}, "kind_bound is .* expected 4 ascending"),
    ],
)
def test_the_operator_and_its_fake_refuse_alike(device, change, message):
    arguments = {
        k: v.to(device) if isinstance(v, torch.Tensor) else v
        for k, v in {**TABLE, **change}.items()
    }
    with pytest.raises(ValueError, match=message):
        torch.ops.avts.clip_offset(**arguments)


@pytest.mark.kernels("cpu")  # a device finds it by other means
@pytest.mark.parametrize(
    "first_range", [[0, 1, 4], [-1, 1, 3], [0, 1, 1], [0, 4, 3], [2, 1, 3], [0, 1, 2**62]]
)
def test_a_broken_table_is_refused_before_it_leads_out_of_memory(first_range):
    media = TABLE["media"].clone()
    media[:, 1] = torch.tensor(first_range)
    with pytest.raises(ValueError, match=r"medium [01] is too short for a clip"):
        torch.ops.avts.clip_offset(**{**TABLE, "media": media})


def test_opcheck():
    torch.library.opcheck(torch.ops.avts.clip_offset.default, tuple(TABLE.values()))


@pytest.mark.kernels("cpu")  # a device finds it by other means
def test_a_compiled_draw_refuses_a_short_medium():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def draw(durations_s):
        return sample_clip_offsets(durations_s, clip_s=1.0, seed=3, proportions=EACH_KIND)

    with pytest.raises(ValueError, match="medium 1 is too short for a clip"):
        draw(seconds(4, 0.5, 6))
