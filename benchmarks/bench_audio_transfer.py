"""Writes a set of the size and layout of ESC-50, and compares our SVM with scikit-learn's on it.

    python benchmarks/bench_audio_transfer.py FOLDER

2,000 recordings of 5 s at 44.1 kHz, written to FOLDER once, 0.9 GB: what `avts evaluate esc50` can
be timed on. Prints seconds of one fold's fits on one core, for all 50 classes of ours and for one
class of scikit-learn's, and how far the objective is above theirs.
"""

import argparse
import platform
import time
import wave
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.svm import LinearSVC

from avts_ext.evaluation.features import FeatureSettings, extract_features
from avts_ext.evaluation.fold_scores import COSTS
from avts_ext.evaluation.labelled import open_labelled
from avts_ext.evaluation.linear_svm import fit_one_vs_all
from avts_ext.models.avts import AVTS
from avts_ext.shipped import WORLD_MODEL

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
    began_s = time.process_time()
    result = work()
    print(f"{name:60} {time.process_time() - began_s:8.1f} s", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, scikit-learn {sklearn.__version__}")
    write_set(folder)
    data = open_labelled("esc50", folder)
    model = AVTS.load(WORLD_MODEL)
    features = timed(
        "features, 10 clips of 2 s of each recording",
        lambda: extract_features(model, data.paths, FeatureSettings()),
    )
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
