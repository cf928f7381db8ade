import json
import sys

import pytest

from avts_ext import _extension
from avts_ext.cli import doctor
from avts_ext.cli.__main__ import VERBS, load, main


def test_prints_every_fact_and_nothing_unknown(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for word in ("avts_ext", "CPU level", "threads", "CUDA", "torch", "FFmpeg", "h264"):
        assert word in text


def test_json_is_the_same_as_build_info_and_more(capsys):
    assert main(["doctor", "--json", "true"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"version", "cpu_level", "cuda", "packages", "threads", "ffmpeg", "advice"} <= set(facts)
    assert facts["ffmpeg"]["codecs"]["libx264"] is True


NOT_BUILT = {"built": False, "problem": "not built"}


def facts_with(**changes):
    good = {
        "nvcc": None,
        "packages": {"torchaudio": "2", "torchvision": "0"},
        "cpu_level": "avx2",
        "cpu_levels": ["base", "avx2"],
        "cuda": {"built": True, "driver_version": 13000, "devices": ["GPU"], "error": ""},
        "ffmpeg": {"codecs": {"aac": True}, "libraries": {}},
    }
    return {**good, **changes}


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, []),
        (
            {"cuda": NOT_BUILT},
            ["CUDA module: not built. For GPUs install NVIDIA's CUDA toolkit (no nvcc was found)"],
        ),
        (
            {"cuda": NOT_BUILT, "nvcc": "/usr/bin/nvcc"},
            ["CUDA module: not built. For GPUs run `AVTS_CUDA=ON pip install"],
        ),
        (
            {"cuda": {"built": False, "problem": "undefined symbol"}},
            ["CUDA module: does not load (undefined symbol)"],
        ),
        (
            {"cuda": {"built": True, "driver_version": 0, "devices": [], "error": "no driver"}},
            ["CUDA driver: none found"],
        ),
        (
            {"cuda": {"built": True, "driver_version": 1, "devices": [], "error": "busy"}},
            ["CUDA devices: none (busy)"],
        ),
        ({"ffmpeg": {"codecs": {"aac": False}, "libraries": {}}}, ["codec aac: missing"]),
        ({"ffmpeg": {"codecs": {}, "problem": "no av"}}, ["PyAV: does not import (no av)"]),
        ({"packages": {"torchaudio": None, "torchvision": "0"}}, ["torchaudio: not installed"]),
        ({"cpu_level": "base"}, ["CPU level: base by AVTS_CPU_ISA"]),
    ],
)
def test_one_line_of_advice_for_each_thing_missing(changes, advice):
    found = list(doctor._advice(facts_with(**changes), torch_sees_gpu=True))
    assert len(found) == len(advice)
    assert all(line.startswith(start) for line, start in zip(found, advice, strict=True))


def test_torch_without_cuda_beside_a_gpu_is_told():
    (line,) = doctor._advice(facts_with(), torch_sees_gpu=False)
    assert line.startswith("torch: sees no GPU")


def test_answers_on_a_bare_machine(monkeypatch, capsys):
    """No nvcc, no CUDA module, no PyAV, no torchaudio and no torchvision."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDACXX", raising=False)
    monkeypatch.delenv("AVTS_CPU_ISA", raising=False)
    for module in ("av", "avts_ext._cuda"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it is a ModuleNotFoundError
    monkeypatch.setattr(_extension, "_package_version", {"torch": "2.14"}.get)
    assert main(["doctor"]) == 0
    facts, advice = capsys.readouterr().out.split("\n\n")
    assert "nvcc         not found" in facts and "torchaudio   not installed" in facts
    starts = [line.split(": ")[0] for line in advice.splitlines()]
    assert starts == ["CUDA module", "PyAV", "torchaudio", "torchvision"]


def test_a_cuda_module_that_does_not_load_is_told_from_none(monkeypatch, capsys):
    def broken():
        raise _extension.ExtensionError("undefined symbol: f") from ImportError("undefined symbol")

    monkeypatch.setattr(_extension, "load_cuda", broken)
    assert main(["doctor"]) == 0
    assert "CUDA module: does not load (undefined symbol: f)" in capsys.readouterr().out


def test_every_verb_leads_to_a_function():
    for verb in VERBS:
        functions = load(verb)
        assert all(
            map(callable, functions.values() if isinstance(functions, dict) else [functions])
        )


def test_unknown_verb_is_refused_by_name(capsys):
    assert main(["dance"]) == 2
    assert "verb is 'dance', expected one of: demo, doctor" in capsys.readouterr().err
    assert main([]) == 0
    assert "usage" in capsys.readouterr().out
