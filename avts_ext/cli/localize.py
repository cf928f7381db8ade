"""The verb `localize`: where in the picture a sound comes from, and where in the sound it is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from avts_ext.data.media import MediaReader
from avts_ext.data.probe import probe_open
from avts_ext.evaluation.random_network import random_network
from avts_ext.evaluation.report import markdown_table, save_results
from avts_ext.evaluation.world_scores import open_world
from avts_ext.localization.annotations import read_annotations
from avts_ext.localization.evaluate import Case, annotated_cases, score_cases, world_cases
from avts_ext.localization.file_maps import (
    Excerpt,
    read_excerpt,
    save_heard,
    save_json,
    save_pictures,
)
from avts_ext.localization.hearing import hear
from avts_ext.localization.readout import locate_sources
from avts_ext.localization.regions import THRESHOLD
from avts_ext.models.avts import AVTS
from avts_ext.shipped import WORLD_MODEL
from avts_ext.sync_report.calibration import SyncCalibration, calibration_path
from avts_ext.sync_report.windows import embed_windows

# Of the distance within which 99 % of the calibration files lie; half the confidence is left there.
_TOO_FAR = 1.5
_CALIBRATION_CLIPS = 32


def localize(
    file: str,
    out_dir: str = "localized",
    threshold: float = THRESHOLD,
    layer: str | None = None,
    contrast: bool = True,
    sharpen: str | None = None,
    shift_sigma_s: float = 0.0,
    sources: list[str] | None = None,
    start_s: float = 0.0,
    duration_s: float = 30.0,
    model: str | None = None,
) -> None:
    """Show where in the picture the sound of a video comes from.

    Writes NAME.mp4 (the map over the picture, with the sound), stills where the map is strongest,
    NAME.json (peaks and boxes of every frame in pixels of the file, and when and in which band the
    picture is heard) and NAME.heard.png (the other direction: where in the spectrogram).

    Args:
        file: A media file.
        out_dir: Folder for what is written.
        threshold: Activations up to this share of a map's maximum are filtered out.
        layer: Name of the video tower's submodule whose map it is, such as "layer2"; by default
            its last convolution.
        contrast: From the sound of each moment, take off that of the moments around: what fits the
            sound at any time, or only moves, cancels. `--contrast=false` gives plain Grad-CAM.
        sharpen: Name of an earlier layer with a finer grid; by default "layer1" where the model is
            the one that came with the package.
        shift_sigma_s: Average the map over small shifts of the sound of this width in seconds.
        sources: Media files with separated sounds of the video, beginning with it; one map each,
            instead of one for its own sound. Written as [a.wav,b.wav].
        start_s: Where to begin, in seconds.
        duration_s: How much to look at, at most.
        model: A model that pretraining saved. The default came with the package and knows the
            generated world (`avts world`) only.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold: got {threshold}, expected 0 <= threshold < 1")
    path = Path(model) if model is not None else WORLD_MODEL
    network = AVTS.load(path)
    torch.set_num_threads(1)  # spinning threads stall each other on small machines
    if sharpen is None and model is None:
        sharpen = "layer1"
    with MediaReader(file) as reader:
        info = probe_open(reader)
        excerpt = read_excerpt(reader, info, network, start_s, duration_s)
        assert info.video is not None
        warning = _unknown_material(reader, network, path, excerpt, info.video.fps)
    sounds = [_sound_of(source, excerpt) for source in sources or []] or [excerpt.waveform]
    found = locate_sources(
        network,
        excerpt.frames,
        sounds,
        contrast=contrast,
        layer=layer,
        before=sharpen,
        mirror="both",
        shift_sigma_s=shift_sigma_s,
    )
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    options = {"model": str(path), "layer": layer, "contrast": contrast, "warning": warning}
    for index, (maps, waveform) in enumerate(zip(found, sounds, strict=True)):
        name = Path(file).stem + (f".source{index}" if sources else "")
        heard = hear(network, excerpt.frames, waveform, contrast=contrast)
        names = save_pictures(excerpt, maps, waveform, threshold, folder / name)
        save_json(excerpt, maps, heard, threshold, folder / f"{name}.json", **options)
        save_heard(heard, excerpt.start_s, folder / f"{name}.heard.png")
        print(f"{out_dir}: {', '.join([*names, f'{name}.json', f'{name}.heard.png'])}")
    if warning:
        print(f"{file}: {warning}: do not trust these maps")


def evaluate_localization(
    checkpoint: str,
    data: str,
    annotations: str | None = None,
    format: str = "world",
    sharpen: str | None = "layer1",
    n_videos: int | None = None,
    out: str | None = None,
    seed: int = 0,
) -> None:
    """Score where a model finds the sound, for offset-contrast and for plain maps.

    Prints every protocol beside controls: the sound of another video, no sound, an untrained
    network, and maps that always show the centre, the whole picture, or what moves.

    Args:
        checkpoint: A model that pretraining saved.
        data: A generated world, or a folder of media named after the annotated clips.
        annotations: Boxes of Flickr-SoundNet (its folder of XML files) or VGG-SS (its JSON file).
        format: "world", "flickr-soundnet" or "vgg-ss".
        sharpen: Name of an earlier layer of the video tower with a finer grid; "none" for none.
        n_videos: Score the first so many only.
        out: JSON file for the results.
        seed: Of the untrained network.
    """
    model = AVTS.load(checkpoint)
    torch.set_num_threads(1)
    if (format == "world") != (annotations is None):
        raise ValueError(f"annotations: got {annotations!r} for the format {format!r}")
    if annotations is None:
        cases, missing = world_cases(model, open_world(data, model.config.clip)), 0
    else:
        cases, missing = annotated_cases(model, Path(data), read_annotations(annotations, format))
    cases = cases[:n_videos]
    if len(cases) < 2:
        raise ValueError(f"data: got {data!r} with {len(cases)} usable clips, expected two or more")
    results = score_cases(
        model,
        _untrained(model, cases, seed),
        cases,
        sharpen=None if sharpen == "none" else sharpen,
        seed=seed,
        command="avts " + shlex.join(sys.argv[1:]),
    )
    print(markdown_table(results))
    if missing:
        print(f"{missing} annotated clips have no usable file in {data}")
    if out is not None:
        save_results(results, Path(out))
        print(f"results: {out}")


def _untrained(model: AVTS, cases: Sequence[Callable[[], Case]], seed: int) -> AVTS:
    clip = model.config.clip
    first = [case() for case in cases[:_CALIBRATION_CLIPS]]
    return random_network(
        model,
        torch.stack([case.frames[: clip.n_frames] for case in first]),
        torch.stack([case.waveform[: clip.n_samples] for case in first]),
        seed,
    )


def _sound_of(path: str, excerpt: Excerpt) -> torch.Tensor:
    """The same stretch of a file of sound."""
    duration_s = len(excerpt.waveform) / excerpt.sample_rate
    with MediaReader(path, tracks="audio") as reader:
        return reader.read_audio(excerpt.start_s, duration_s, excerpt.sample_rate)[0]


def _unknown_material(
    reader: MediaReader, network: AVTS, model: Path, excerpt: Excerpt, file_fps: float
) -> str:
    """Why the model cannot know this material, by its calibration; empty where it may."""
    if not calibration_path(model).exists():
        return ""
    calibration = SyncCalibration.load(calibration_path(model), model)
    duration_s = len(excerpt.frames) / float(excerpt.fps)
    windows = embed_windows(network, reader, excerpt.start_s, duration_s, file_fps=file_fps)
    video, audio = calibration.novelty(windows)
    strange = [name for name, far in (("picture", video), ("sound", audio)) if far > _TOO_FAR]
    return f"the {' and the '.join(strange)} is unlike what the model knows" if strange else ""
