"""``avts doctor``: what is installed and active, and one line of advice for what is missing."""

from __future__ import annotations

import json as json_module
import os
import shutil
from collections.abc import Iterator
from typing import Any, Literal

# What the world and most collections of videos need, by FFmpeg's names.
_CODECS: dict[str, Literal["r", "w"]] = {
    "libx264": "w",
    "h264": "r",
    "aac": "r",
    "vp9": "r",
    "opus": "r",
}
_PEERS = ("torchaudio", "torchvision")
_REBUILD = "`AVTS_CUDA=ON pip install --force-reinstall --no-deps .` in the source folder"


def doctor(json: bool = False) -> None:
    """Print versions, the active CPU level, threads, CUDA, FFmpeg's codecs, and advice.

    Args:
        json: print one JSON object instead of lines for people.
    """
    facts = examine()
    if json:
        print(json_module.dumps(facts, indent=2))
        return
    for line in _lines(facts):
        print(line)


def examine() -> dict[str, Any]:
    """All that doctor knows: `build_info()` with "threads", "nvcc", "ffmpeg" and "advice"."""
    import torch

    from avts_ext import build_info

    facts = build_info()
    facts["threads"] = torch.get_num_threads()
    facts["nvcc"] = os.environ.get("CUDACXX") or shutil.which("nvcc")
    facts["ffmpeg"] = _ffmpeg()
    facts["advice"] = list(_advice(facts, torch.cuda.is_available()))
    return facts


def _ffmpeg() -> dict[str, Any]:
    try:
        import av
        from av.codec.codec import UnknownCodecError
    except ImportError as error:
        return {"problem": str(error), "libraries": {}, "codecs": {}}
    codecs = {}
    for name, mode in _CODECS.items():
        try:
            av.codec.Codec(name, mode)
            codecs[name] = True
        except UnknownCodecError:
            codecs[name] = False
    libraries = {name: ".".join(map(str, v)) for name, v in av.library_versions.items()}
    return {"libraries": libraries, "codecs": codecs}


def _advice(facts: dict[str, Any], torch_sees_gpu: bool) -> Iterator[str]:
    yield from _cuda_advice(facts["cuda"], facts["nvcc"], torch_sees_gpu)
    ffmpeg = facts["ffmpeg"]
    if "problem" in ffmpeg:
        yield f"PyAV: does not import ({ffmpeg['problem']}). Run `pip install --upgrade av`."
    for name in [name for name, present in ffmpeg["codecs"].items() if not present]:
        yield f"codec {name}: missing in this FFmpeg. PyAV's own wheels carry it: `pip install av`."
    for name in _PEERS:
        if facts["packages"][name] is None:
            yield f"{name}: not installed. Only comparisons need it: `pip install '.[test]'`."
    if facts["cpu_level"] != facts["cpu_levels"][-1]:
        yield (
            f"CPU level: {facts['cpu_level']} by AVTS_CPU_ISA; this machine can run "
            f"{facts['cpu_levels'][-1]}. Unset the variable for full speed."
        )


def _cuda_advice(cuda: dict[str, Any], nvcc: str | None, torch_sees_gpu: bool) -> Iterator[str]:
    if not cuda["built"] and cuda["problem"] != "not built":
        yield f"CUDA module: does not load ({cuda['problem']})"
    elif not cuda["built"]:
        install = "" if nvcc else "install NVIDIA's CUDA toolkit (no nvcc was found), then "
        yield f"CUDA module: not built. For GPUs {install}run {_REBUILD}."
    elif cuda["driver_version"] == 0:
        yield "CUDA driver: none found. For GPUs install NVIDIA's driver."
    elif not cuda["devices"]:
        yield f"CUDA devices: none ({cuda['error']})."
    elif not torch_sees_gpu:
        yield "torch: sees no GPU although the driver does. Install a CUDA build of torch."


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    cuda, ffmpeg = facts["cuda"], facts["ffmpeg"]
    yield f"avts_ext     {facts['version']} ({facts['compiler']})"
    yield f"CPU level    {facts['cpu_level']} (of {', '.join(facts['cpu_levels'])})"
    yield f"threads      {facts['threads']} (torch.get_num_threads)"
    if cuda["built"]:
        yield f"CUDA         built for {', '.join(cuda['targets'])}"
        yield f"  runtime    {_cuda_version(cuda['runtime_version'])}"
        yield f"  driver     {_cuda_version(cuda['driver_version'])}"
        yield f"  devices    {', '.join(cuda['devices']) or 'none'}"
    else:
        yield "CUDA         not usable, everything runs on the CPU"
    yield f"nvcc         {facts['nvcc'] or 'not found'}"
    for name, version in facts["packages"].items():
        yield f"{name:<13}{version or 'not installed'}"
    libraries = ", ".join(f"{name} {version}" for name, version in ffmpeg["libraries"].items())
    codecs = ", ".join(name for name, present in ffmpeg["codecs"].items() if present)
    yield f"FFmpeg       {libraries or 'none, because PyAV does not import'}"
    yield f"  codecs     {codecs or 'none'}"
    yield ""
    yield from facts["advice"] or ["Nothing is missing."]


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}" if number else "none"
