"""Times `avts evaluate esc50` on a generated set of its size: 2,000 recordings of 5 s at 44.1 kHz.

    python benchmarks/bench_audio_transfer.py FOLDER

The set is written to FOLDER once, 0.9 GB. Prints seconds of wall time for each part, one network,
and of scikit-learn's LinearSVC on one class of one fold for comparison.
"""

import argparse
import platform
import time
import wave
from pathlib import Path

import numpy as np
import torch
from sklearn.svm import LinearSVC

from avts_ext.evaluation.features import POOLINGS, FeatureSettings, extract_features
from avts_ext.evaluation.fold_scores import COSTS, score_folds
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.linear_svm import fit_one_vs_all
from avts_ext.models.avts import AVTS, AVTSConfig

N_CLASSES, PER_FOLD, RATE, DURATION_S = 50, 8, 44100, 5


def write_set(root):
    """Noise bands and tones whose place and rhythm tell the class, in other noise."""
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "audio").mkdir(exist_ok=True)
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    times_s = np.arange(RATE * DURATION_S) / RATE
    for fold in range(1, 6):
        for target in range(N_CLASSES):
            for number in range(PER_FOLD):
                source = 100_000 + 10_000 * fold + 100 * target + number
                name = f"{fold}-{source}-A-{target}.wav"
                lines.append(f"{name},{fold},{target},class{target:02},False,{source},A")
                path = root / "audio" / name
                if not path.exists():
                    write_sound(path, times_s, target, np.random.default_rng(source))
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")


def write_sound(path, times_s, target, rng):
    """A tone that beats, in noise of any level."""
    pitch_hz = 150 * 1.4 ** (target % 10) * rng.uniform(0.9, 1.1)
    beat = np.sin(np.pi * (1 + target // 10) * times_s + rng.uniform(0, 6)) > 0
    tone = np.sin(2 * np.pi * pitch_hz * times_s) * beat
    sound = 0.1 * tone + rng.uniform(0.05, 0.3) * rng.normal(size=len(times_s))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((32767 * np.clip(sound, -1, 1)).astype("<i2").tobytes())


def timed(name, work):
    began_s = time.perf_counter()
    result = work()
    print(f"{name:45} {time.perf_counter() - began_s:8.1f} s", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, "
          f"{options.threads} thread(s), {options.workers} worker(s)")  # fmt: skip
    write_set(options.folder)
    torch.manual_seed(0)
    model = AVTS(AVTSConfig()).eval()
    data = timed("lists read and checked", lambda: open_labelled("esc50", options.folder))
    features = timed(
        "features, 10 clips of 2 s each, small tower",
        lambda: extract_features(model, data.paths, FeatureSettings(), workers=options.workers),
    )
    for pooling in POOLINGS:
        values = features.of(pooling)
        scores = timed(
            f"5 folds, C sought, {values.shape[2]} {pooling} numbers",
            lambda values=values: score_folds(values, data.labels, data.folds),
        )
        print(f"  accuracy {scores.mean:.3f}, C {scores.chosen_c}")
    compare(features.pooled, data)


def compare(pooled, data):
    """One fold: all classes of ours, one class of liblinear's, and how deep both get."""
    fold = data.folds[0]
    x = torch.from_numpy(pooled[fold.train]).flatten(0, 1)
    y = torch.from_numpy(data.labels[fold.train]).repeat_interleave(pooled.shape[1])
    for cost in COSTS:
        (machine,) = timed(
            f"C = {cost}: fit_one_vs_all, all classes",
            lambda cost=cost: fit_one_vs_all(x, y, N_CLASSES, [cost]),
        )
        scaled = ((x - machine.mean) * machine.scale).double().numpy()
        ours = objective(scaled, y == 0, cost, machine.weights[0].double().numpy())
        for options in ({"dual": False}, {"dual": True, "tol": 0.1}):
            theirs = LinearSVC(C=cost, random_state=0, **options)
            text = f"C = {cost}: LinearSVC {options}, one class"
            timed(text, lambda fit=theirs.fit, x=scaled: fit(x, (y == 0).numpy()))
            weights = np.append(theirs.coef_[0], theirs.intercept_)
            above = ours / objective(scaled, y == 0, cost, weights) - 1
            print(f"  objective of ours is above theirs by {above:.1e} of it")


def objective(x, in_class, cost, weights):
    """What both minimise."""
    signs = np.where(in_class, 1, -1)
    slack = np.maximum(0, 1 - signs * (x @ weights[:-1] + weights[-1]))
    return weights @ weights / 2 + cost * slack @ slack


if __name__ == "__main__":
    main()
