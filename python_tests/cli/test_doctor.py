import json

import pytest

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


def facts_with(**changes):
    good = {
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
        ({"cuda": {"built": False}}, ["CUDA module: not built"]),
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


def test_every_verb_leads_to_a_function():
    assert all(callable(load(verb)) for verb in VERBS)


def test_unknown_verb_is_refused_by_name(capsys):
    assert main(["dance"]) == 2
    assert "verb is 'dance', expected one of: doctor" in capsys.readouterr().err
    assert main([]) == 0
    assert "usage" in capsys.readouterr().out
