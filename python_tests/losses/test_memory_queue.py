import doctest

import pytest
import torch

from avts_ext.losses import MemoryQueue, SyncContrastiveLoss, memory_queue
from avts_ext.ops.reference import sync_loss as reference
from avts_ext.ops.sync_options import SyncLossOptions

DIM = 6
OBJECTIVES = [
    {"objective": "margin", "mining": "hardest"},
    {"objective": "margin", "mining": "all", "negatives": {"easy": 1.0, "hard": 0.5}},
    {"objective": "margin", "mining": "semi_hard", "k": 2},
    {"objective": "triplet", "mining": "hardest"},
    {"objective": "infonce"},
    {"objective": "sigmoid", "bias": -1.0},
]


def make_batches(sizes, media=5):
    """Rows and windows of batches with different numbers of rows, in which every kind occurs."""
    batches = []
    for n, m in sizes:
        batches.append(
            {
                "video": torch.randn(n, DIM, dtype=torch.float64) / 4,
                "audio": torch.randn(m, DIM, dtype=torch.float64) / 4,
                "video_ids": torch.randint(media, (n,)),
                "audio_ids": torch.randint(media, (m,)),
                "video_start_s": torch.randint(30, (n,)) * 0.1,
                "audio_start_s": torch.randint(30, (m,)) * 0.1,
                "video_groups": torch.randint(-1, 9, (n,)),
                "audio_groups": torch.randint(-1, 9, (m,)),
            }
        )
    return batches


def expected_loss(batch, past, capacity, options):
    """From the definition, with the reference: all rows of the past, of which the last count."""

    def side(name, with_past):
        rows = [batch[name]]
        if with_past and past:
            rows.append(torch.cat([b[name] for b in past])[-capacity:])
        return torch.cat(rows)

    losses = []
    for anchors, all_video, all_audio in (("video", False, True), ("audio", True, False)):
        windows = [
            reference.Windows(*(side(f"{s}_{x}", every) for x in ("ids", "start_s", "groups")))
            for s, every in (("video", all_video), ("audio", all_audio))
        ]
        kinds = reference.pair_kinds(*windows, 1.0, 0.5, 0.25)
        rows = side("video", all_video), side("audio", all_audio)
        own = SyncLossOptions(**options, anchors=anchors)
        losses.append(reference.contrastive_loss(*rows, kinds, own))
    return sum(losses) / 2


def test_example_runs():
    assert doctest.testmod(memory_queue) == (0, 6)


@pytest.mark.parametrize("options", OBJECTIVES, ids=str)
def test_loss_and_gradient_match_the_definition(options):
    batches = make_batches([(5, 7), (4, 4), (6, 3), (30, 2), (3, 30), (4, 5)])
    queue = MemoryQueue(SyncContrastiveLoss(**options), capacity=11, dim=DIM).double()
    for step, batch in enumerate(batches):
        inputs = [batch[name].requires_grad_() for name in ("video", "audio")]
        loss = queue(**batch)
        past = [{name: x.detach() for name, x in b.items()} for b in batches[:step]]
        expected = expected_loss(batch, past, 11, options)
        torch.testing.assert_close(loss, expected)
        for found, wanted in zip(
            torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True
        ):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("options", OBJECTIVES, ids=str)
def test_with_empty_queues_it_is_the_loss_of_the_batch(options):
    (batch,) = make_batches([(6, 6)])
    loss = SyncContrastiveLoss(**options)
    queue = MemoryQueue(loss, capacity=4, dim=DIM).double()
    torch.testing.assert_close(queue(**batch), loss(**batch))


@pytest.mark.parametrize("anchors", ["video", "audio"])
def test_anchors_of_one_side(anchors):
    batches = make_batches([(6, 6), (5, 4)])
    queue = MemoryQueue(SyncContrastiveLoss(anchors=anchors), capacity=8, dim=DIM).double()
    queue(**batches[0])
    rows = {name: batches[1][name] for name in batches[1]}
    other = "audio" if anchors == "video" else "video"
    for name in (other, f"{other}_ids", f"{other}_start_s", f"{other}_groups"):
        rows[name] = torch.cat([batches[1][name], batches[0][name]])
    expected = SyncContrastiveLoss(anchors=anchors)(**rows)
    torch.testing.assert_close(queue(**batches[1]), expected)


def test_state_survives_saving(tmp_path):
    batches = make_batches([(5, 7), (4, 4), (6, 3)])
    queue, loaded = (
        MemoryQueue(SyncContrastiveLoss("infonce", learn_temperature=True), 9, DIM).double()
        for _ in range(2)
    )
    for batch in batches[:2]:
        queue(**batch)
    torch.save(queue.state_dict(), "queue.pt")
    loaded.load_state_dict(torch.load("queue.pt", weights_only=True))
    assert torch.equal(queue(**batches[2]), loaded(**batches[2]))
    assert all(
        torch.equal(x, y)
        for x, y in zip(queue.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


def test_evaluation_leaves_the_queue_as_it_is():
    batches = make_batches([(5, 5), (4, 4)])
    queue = MemoryQueue(SyncContrastiveLoss(), 9, DIM).double()
    queue(**batches[0])
    before = {name: x.clone() for name, x in queue.state_dict().items()}
    queue.eval()
    assert torch.equal(queue(**batches[1]), queue(**batches[1]))
    assert all(torch.equal(x, before[name]) for name, x in queue.state_dict().items())


def test_silent_and_broken_rows_do_not_enter():
    (batch,) = make_batches([(6, 6)])
    batch["video"][2] = torch.nan
    silent = torch.tensor([False, True, False, False, True, False])
    queue = MemoryQueue(SyncContrastiveLoss(), 9, DIM).double()
    assert queue(**batch, audio_silent=silent).isnan()
    assert len(queue.video) == 5 and len(queue.audio) == 4
    assert torch.equal(queue.audio.rows[:4], batch["audio"][~silent])


def test_the_clock_survives_half_precision():
    (batch,) = make_batches([(3, 3)])
    batch["video_start_s"] = torch.tensor([3600.04, 3600.08, 3600.12], dtype=torch.float64)
    queue = MemoryQueue(SyncContrastiveLoss(), 3, DIM).half()
    queue(**{name: x.half() if name in ("video", "audio") else x for name, x in batch.items()})
    assert queue.video.rows.dtype == torch.float16
    assert torch.equal(queue.video.start_bits.view(torch.float64), batch["video_start_s"])


def test_bad_arguments():
    (batch,) = make_batches([(3, 3)])
    with pytest.raises(ValueError, match="capacity is 0"):
        MemoryQueue(SyncContrastiveLoss(), 0, DIM)
    queue = MemoryQueue(SyncContrastiveLoss(), 4, DIM + 1).double()
    with pytest.raises(ValueError, match=r"video is of shape \(3, 6\), expected \(rows, 7\)"):
        queue(**batch)
    queue = MemoryQueue(SyncContrastiveLoss(), 4, DIM).double()
    with pytest.raises(ValueError, match=r"video_ids is .*int64 of shape"):
        queue(**batch | {"video_ids": torch.zeros(2).long()})
    with pytest.raises(ValueError, match="k is 9"):
        queue(**batch, mining="hardest", k=9)
    assert len(queue.video) == 0  # a batch that was refused is not kept
