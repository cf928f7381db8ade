"""Which mining rules learn from random weights, and which collapse.

python benchmarks/mining_from_scratch.py [--steps 1500] [--seeds 3]

Two small networks see two noisy nonlinear views of one hidden vector, as two towers see picture and
sound of one event, and are trained with each rule. Printed at the end, for fresh batches: the loss
over its chance line, the mean distance of positives over that of negatives (1: collapsed), and how
often the nearest of a batch's audio rows is the right one. The last column but one repeats hardest
mining with the plain float64 reference in place of the kernels, from the same weights.
"""

import argparse
import statistics

import torch

from avts_ext.ops import sync_loss_with_diagnostics
from avts_ext.ops.reference import sync_loss as reference
from avts_ext.ops.sync_options import SyncLossOptions

ROWS, HIDDEN, SEEN, DIM = 64, 8, 64, 32
HARDEST = {"mining": "hardest"}
ALL = {"mining": "all"}
RULES = {
    "hardest": [HARDEST],
    "hardest, by the reference": [HARDEST],
    "hardest, unit length": [HARDEST | {"embeddings": "l2"}],
    "all": [ALL],
    "semi-hard": [{"mining": "semi_hard"}],
    "semi-hard, unit length": [{"mining": "semi_hard", "embeddings": "l2"}],
    "distance-weighted, unit length": [{"mining": "distance_weighted", "embeddings": "l2"}],
    "all, then hardest": [ALL, HARDEST],
    "InfoNCE, unit length": [{"objective": "infonce", "embeddings": "l2"}],
    "sigmoid, unit length": [{"objective": "sigmoid", "embeddings": "l2", "bias": -10.0}],
}


def make_tower():
    layers = (torch.nn.Linear(SEEN, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128))
    return torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(128, DIM))


class Views:
    """Batches of two views of the same hidden rows."""

    def __init__(self, seed):
        self.random = torch.Generator().manual_seed(seed)
        self.maps = torch.randn(2, HIDDEN, SEEN, generator=self.random)

    def batch(self):
        hidden = torch.randn(ROWS, HIDDEN, generator=self.random)
        seen = torch.sin(hidden @ self.maps)
        return seen + 0.3 * torch.randn(seen.shape, generator=self.random)


def reference_loss(video, audio, options):
    kinds = torch.ones(ROWS, ROWS, dtype=torch.int64).fill_diagonal_(0)
    return reference.contrastive_loss(video, audio, kinds, SyncLossOptions(**options)).float()


def train(rule, stages, steps, seed):
    torch.manual_seed(seed)
    towers = torch.nn.ModuleList([make_tower(), make_tower()])
    optimizer = torch.optim.Adam(towers.parameters(), lr=1e-3)
    views = Views(seed)
    for step in range(steps):
        options = stages[step * len(stages) // steps]
        video, audio = (tower(x) for tower, x in zip(towers, views.batch(), strict=True))
        if rule.endswith("reference"):
            loss = reference_loss(video, audio, options)
        else:
            loss, _ = sync_loss_with_diagnostics(video, audio, **options)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return measure(towers, views, stages[-1])


@torch.no_grad()
def measure(towers, views, options):
    found = []
    for _ in range(10):
        video, audio = (tower(x) for tower, x in zip(towers, views.batch(), strict=True))
        _, diagnostics = sync_loss_with_diagnostics(video, audio, **options)
        if options.get("embeddings") == "l2":
            video, audio = (torch.nn.functional.normalize(x) for x in (video, audio))
        # Over all pairs: the mean over mined negatives alone says how near the hardest are.
        d = torch.cdist(video, audio)
        others = (d.sum() - d.trace()) / (d.numel() - ROWS)
        right = (d.argmin(1) == torch.arange(ROWS)).float().mean()
        ratio = d.diagonal().mean() / others
        found.append((diagnostics.loss / diagnostics.chance, ratio.item(), right.item()))
    return [statistics.mean(column) for column in zip(*found, strict=True)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| mining | loss / chance | positive / negative distance | nearest is right |")
    print("| --- | --- | --- | --- |")
    for rule, stages in RULES.items():
        runs = [train(rule, stages, options.steps, seed) for seed in range(options.seeds)]
        columns = [[f"{x:.2f}" for x in column] for column in zip(*runs, strict=True)]
        print(f"| {rule} | " + " | ".join(" ".join(column) for column in columns) + " |")


if __name__ == "__main__":
    main()
