"""Several processes with a part of the batch each come to what one with all of it does."""

import traceback

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from avts_ext.losses import MemoryQueue, SyncContrastiveLoss, gather_batch

DIM, DIM_IN = 6, 4
ROWS = {2: [(7, 9), (5, 3)], 4: [(3, 5), (6, 6), (0, 1), (3, 0)]}  # both come to (12, 12)
CASES = {
    "hardest": {"mining": "hardest"},
    "semi-hard": {"mining": "semi_hard", "k": 3},
    "all": {"mining": "all", "negatives": {"easy": 1.0, "hard": 0.25}},
    "triplet": {"objective": "triplet", "mining": "hardest", "embeddings": "l2"},
    "infonce": {"objective": "infonce", "learn_temperature": True, "temperature": 0.5},
    "sigmoid": {"objective": "sigmoid", "learn_temperature": True, "learn_bias": True},
}


class Towers(torch.nn.Module):
    """The least model whose weights need the gradients of all rows, with the loss it learns by."""

    def __init__(self, options, dtype):
        super().__init__()
        torch.manual_seed(1)
        self.video = torch.nn.Linear(DIM_IN, DIM, dtype=dtype)
        self.audio = torch.nn.Linear(DIM_IN, DIM, dtype=dtype)
        self.loss = SyncContrastiveLoss(**options).to(dtype)

    def forward(self, batch):
        video, audio = self.video(batch["video"]), self.audio(batch["audio"])
        return self.loss(**gather_batch(**(batch | {"video": video, "audio": audio})))


def whole_batch(dtype, seed=0):
    torch.manual_seed(seed)
    return {
        "video": torch.randn(12, DIM_IN, dtype=dtype),
        "audio": torch.randn(12, DIM_IN, dtype=dtype),
        "video_ids": torch.randint(4, (12,)),
        "audio_ids": torch.randint(4, (12,)),
        "video_start_s": torch.randint(12, (12,)) * 0.1,
        "audio_start_s": torch.randint(30, (12,)) * 0.1,
        "video_groups": torch.randint(-1, 20, (12,)),
        "audio_groups": torch.randint(-1, 20, (12,)),
        "audio_silent": torch.rand(12) < 0.2,
    }


def part_of(batch, rank, size):
    counts = ROWS[size]
    part = {}
    for name, rows in batch.items():
        by_rank = [count[name.startswith("audio")] for count in counts]
        part[name] = rows.split(by_rank)[rank]
    return part


def loss_and_gradients(model, batch):
    loss = model(batch)
    loss.backward()
    return [loss.detach(), *(weight.grad for weight in model.parameters())]


def check_losses(rank, size):
    for options in CASES.values():
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            batch = whole_batch(dtype)
            parallel = DistributedDataParallel(Towers(options, dtype))
            found = loss_and_gradients(parallel, part_of(batch, rank, size))
            alone = Towers(options, dtype)
            loss = alone.loss(
                **batch
                | {"video": alone.video(batch["video"]), "audio": alone.audio(batch["audio"])}
            )
            loss.backward()
            expected = [loss.detach(), *(weight.grad for weight in alone.parameters())]
            assert any(x.abs().max() > 1e-3 for x in expected[1:])
            for x, y in zip(found, expected, strict=True):
                torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def check_half_precision(rank, size):
    batch = whole_batch(torch.bfloat16)
    part = part_of(batch, rank, size)
    own = part["video"].requires_grad_()
    loss = SyncContrastiveLoss()(**gather_batch(**part))
    (gradient,) = torch.autograd.grad(loss, own)
    every = batch["video"].requires_grad_()
    expected = SyncContrastiveLoss()(**batch)
    (wanted,) = torch.autograd.grad(expected, every)
    assert torch.equal(loss, expected)
    torch.testing.assert_close(gradient, size * part_of({"video": wanted}, rank, size)["video"])


def check_default_ids(rank, size):
    """Row i of a process belongs to its row i, as if all were one aligned batch."""
    counts = [2 + other for other in range(size)]
    video, audio = torch.randn(2, sum(counts), DIM, generator=torch.Generator().manual_seed(3))
    parts = [rows.split(counts)[rank] for rows in (video, audio)]
    loss = SyncContrastiveLoss("infonce")
    torch.testing.assert_close(loss(**gather_batch(*parts)), loss(video, audio))


def check_queue(rank, size):
    """The queues of all processes are alike, and those of one process with all rows."""
    queue, alone = (MemoryQueue(SyncContrastiveLoss(), 20, DIM_IN).double() for _ in range(2))
    for step in range(3):
        batch = whole_batch(torch.float64, seed=step)
        loss = queue(**gather_batch(**part_of(batch, rank, size)))
        torch.testing.assert_close(loss, alone(**batch))
    for x, y in zip(queue.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(x, y)


def check_errors(rank, size):
    """What only the last process gets wrong raises in all of them, and none waits."""
    faults = {
        "D = 5": {"video": torch.zeros(2, 5)},
        "float64": {"audio": torch.zeros(2, 3).double()},
        "1-dimensional": {"audio": torch.zeros(2)},
        "needs a gradient": {"video": torch.zeros(2, 3, requires_grad=True)},
        "of another dtype": {"video": torch.zeros(2, 3).to(torch.complex64)},
        "video_ids has": {"video_ids": torch.zeros(3).long()},
        "is None": {"video_start_s": None},
    }
    for message, fault in faults.items():
        batch = {
            "video": torch.zeros(2, 3),
            "audio": torch.zeros(2, 3),
            "video_ids": torch.zeros(2).long(),
            "audio_ids": torch.zeros(2).long(),
            "video_start_s": torch.zeros(2),
            "audio_start_s": torch.zeros(2),
        }
        with pytest.raises(ValueError, match=message):
            gather_batch(**batch | (fault if rank == size - 1 else {}))


def run_checks(rank, size, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=size)
    for check in (check_losses, check_half_precision, check_default_ids, check_queue, check_errors):
        try:
            check(rank, size)
        except Exception:
            traceback.print_exc()
            raise
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 4])
def test_processes_come_to_what_one_does(size, tmp_path):
    mp.spawn(run_checks, (size, tmp_path), nprocs=size)


def test_one_process_keeps_what_it_has():
    video, audio = torch.randn(2, 5, 3)
    gathered = gather_batch(video, audio)
    assert gathered.pop("video") is video and gathered.pop("audio") is audio
    assert set(gathered.values()) == {None}


def test_an_unknown_name_is_refused():
    with pytest.raises(TypeError, match="video_id'"):
        gather_batch(torch.randn(2, 3), torch.randn(2, 3), video_id=torch.arange(2))
