import json
import re
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest

from avts_ext.demo.html import write_html
from avts_ext.evaluation.report import Result
from avts_ext.localization.overlay import OverlayPainter, save_overlay_video, save_still

HOSTILE = "$x_{$ <script>alert('&amp;')</script> \"quoted\""
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects tags, attributes and text, and fails at the first tag that is not balanced."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def parse(path):
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert not checker.open
    return checker


def result(protocol, value, **others):
    return Result(protocol, value, n=123, seeds=(0, 7), versions={}, **others).to_dict()


def measure(value):
    return {"value": value, "low": value - 0.0625, "high": value + 0.0625}


RESULTS = [
    result("sync-hard/1", 0.8812, chance=0.5, baseline=0.4881, interval=(0.8413, 0.9214)),
    result("offset-median/1", 0.0412, unit="s", baseline=0.7116, spread=0.0117),
    result("audio-probe-20/1", 0.7618, chance=0.1019, baseline=0.6021),
    result(
        "boxes-duet, source, event frames/1",
        0.6122,
        baseline=0.3123,
        interval=(0.5524, 0.6625),
        controls={"wrong audio": 0.4226, "no audio": 0.4527, "centre": 0.1128},
    ),
    result("something-new/1", 0.2929),
]
FIGURES = (
    "0.881 0.500 0.488 0.841–0.921 0.041 s 0.712 0.012 0.762 0.102 0.602 0.612 0.312 0.552–0.662 "
    "0.423 0.453 0.113 0.293"
)


@pytest.fixture
def folder(tmp_path):
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    sound = np.zeros(4000, np.float32)
    painter = OverlayPainter((64, 64), sound, 16000)
    picture = painter.paint(np.full((64, 64, 3), 90, np.uint8), np.eye(64), 0.125)
    save_overlay_video(gallery / "0.mp4", [picture] * 4, Fraction(16), sound, 16000)
    save_still(gallery / "0.png", picture)
    save_still(gallery / "0_wrong.png", picture)
    return tmp_path


@pytest.fixture
def report():
    return {
        "version": 1,
        "command": "avts demo out --quick --seed 31",
        "quick": True,
        "seed": 31,
        "seeds": {"world": 31, "held-out world": 1031},
        "created": "2026-11-25T07:00:00Z",
        "versions": {"torch": "2.14.1"},
        "machine": {"cpu level": "avx512", "cores": 2},
        "seconds": {"world": 20.125, "pretrain": 50.25},
        "effects": [
            {
                "name": "Sync accuracy",
                "claim": "It tells sounds apart.",
                "expected": ".85 to .95",
                "measured": "0.881",
                "holds": True,
            }
        ],
        "results": RESULTS,
        "epochs": [
            {"epoch": 0, "sync_hard": measure(0.4931), "audio_probe": measure(0.6032)},
            {"epoch": 8, "sync_hard": measure(0.8733), "audio_probe": None},
        ],
        "subsets": {
            "rule": "equal epochs",
            "rows": [{"percent": 13, "videos": 40, "sync_hard": measure(0.7434)}],
        },
        "training": [
            {"epoch": 1, "loss": 0.3832, "learning_rate": 2.5e-5, "stage": "a&b"},
            {"epoch": 2, "loss": 0.3136, "easy": 0.5237},
        ],
        "gallery": [
            {
                "title": "ring · heard",
                "scene": "duet",
                "truth": "the ring is heard, the disc is silent",
                "video": "gallery/0.mp4",
                "still": "gallery/0.png",
                "wrong_audio_still": "gallery/0_wrong.png",
                "on_source": 0.9138,
                "on_silent": 0.0139,
                "iou": 0.5141,
            }
        ],
        "files": {"model": "out/model.safetensors"},
        "skipped": "3 files skipped",
    }


def write(report, folder):
    # A report is what JSON gives back.
    write_html(json.loads(json.dumps(report)), folder, folder / "report.html")
    return folder / "report.html"


def test_every_figure_of_the_report_is_there(report, folder):
    text = parse(write(report, folder)).text
    for figure in FIGURES.split():
        assert figure in text
    for curve in ("0.493", "0.431–0.556", "0.603", "0.873", "0.743", "0.3832", "2.5e-05", "0.5237"):
        assert curve in text
    for exhibit in ("0.914", "0.014", "0.514"):
        assert exhibit in text
    for fact in ("1031", "2.14.1", "avx512", "20.1", "50.2", "3 files skipped", "equal epochs"):
        assert fact in text


def test_nothing_is_loaded_from_anywhere_else(report, folder):
    page = write(report, folder)
    assert not re.search("https?://|@import|<script", page.read_text())
    references = [(tag, n, v) for tag, n, v in parse(page).attributes if n in ("src", "href")]
    assert {tag for tag, _, _ in references} >= {"video", "img", "use"}
    for _, _, value in references:
        assert value.startswith(("data:video/mp4;base64,", "data:image/png;base64,", "#"))


def test_inside_references_lead_to_something_and_no_identifier_is_used_twice(report, folder):
    page = write(report, folder)
    attributes = parse(page).attributes
    named = [value for _, name, value in attributes if name == "id"]
    assert len(named) == len(set(named))
    inside = re.findall(r'(?:href="#|url\(#)([^")]+)', page.read_text())
    assert inside and set(inside) <= set(named)


def test_videos_can_be_played_with_their_sound(report, folder):
    attributes = {n for tag, n, _ in parse(write(report, folder)).attributes if tag == "video"}
    assert {"controls", "playsinline", "preload"} <= attributes and "muted" not in attributes


def test_pictures_and_plots_are_described(report, folder):
    checker = parse(write(report, folder))
    descriptions = [v for tag, n, v in checker.attributes if (tag, n) == ("img", "alt")]
    assert len(descriptions) == checker.seen.count("img") == 2 and all(descriptions)
    labels = [v for tag, n, v in checker.attributes if (tag, n) == ("svg", "aria-label")]
    assert len(labels) == checker.seen.count("svg") == 6
    assert any("0.493 at 0 to 0.873 at 8" in label for label in labels)


def test_an_effect_that_fails_is_named_at_the_top(report, folder):
    assert "All 1 effects" in parse(write(report, folder)).text
    failed = {
        "name": "The map listens",
        "claim": "It points at the heard object.",
        "expected": "at least .85",
        "measured": "0.612",
        "holds": False,
    }
    report["effects"].append(failed)
    page = write(report, folder)
    text = parse(page).text
    verdict = "1 of 2 expected effects does not hold in this run: The map listens."
    assert text.index(verdict) < text.index("holds\n")
    assert text.count("✗ does not hold") == 1 == text.count("✓ holds")
    assert 'class="effect fails"' in page.read_text()


def test_hostile_text_stays_text(report, folder):
    plain = parse(write(report, folder))
    report["gallery"][0].update(title=HOSTILE, truth=HOSTILE)
    report["effects"][0].update(name=HOSTILE, claim=HOSTILE, measured=HOSTILE, expected=HOSTILE)
    report["subsets"]["rule"] = report["command"] = report["skipped"] = HOSTILE
    report["versions"][HOSTILE] = report["files"][HOSTILE] = HOSTILE
    report["results"] = [
        result(HOSTILE, 0.5, unit=HOSTILE),
        result("sync " + HOSTILE, 0.5, controls={HOSTILE: 0.25}),
        *RESULTS[2:],
    ]
    hostile = parse(write(report, folder))
    assert set(hostile.seen) == set(plain.seen)
    assert HOSTILE in hostile.text
    assert {name for _, name, _ in hostile.attributes} == {name for _, name, _ in plain.attributes}


def test_any_part_may_be_missing(report, folder):
    for key in set(report) - {"version"}:
        parse(write({name: part for name, part in report.items() if name != key}, folder))


def test_what_is_left_out_is_said(folder):
    text = parse(write({"version": 1}, folder)).text
    for sentence in (
        "This run tested no effect.",
        "This run did not measure accuracy against epochs.",
        "This run did not train on smaller sets of videos.",
        "This run holds no results.",
        "This run made no gallery of videos.",
        "Not recorded in this run: seeds, time, machine, versions, files.",
    ):
        assert sentence in text


@pytest.mark.parametrize("key", ["video", "still", "wrong_audio_still"])
def test_a_missing_file_is_named_and_nothing_is_written(key, report, folder):
    page = folder / "report.html"
    page.write_text("old")
    report["gallery"][0][key] = "gallery/lost.png"
    with pytest.raises(FileNotFoundError, match=rf"{key} of 'ring · heard' is .*gallery/lost.png"):
        write(report, folder)
    assert page.read_text() == "old"
    assert {path.name for path in folder.iterdir()} == {"gallery", "report.html"}


def test_a_report_of_another_version_or_another_kind_of_file_is_refused(report, folder):
    report["gallery"][0]["still"] = "gallery/0.tiff"
    with pytest.raises(ValueError, match=r"still of .* expected a file of type \.mp4, \.png"):
        write(report, folder)
    report["version"] = 2
    with pytest.raises(ValueError, match="version 2, expected 1"):
        write(report, folder)
    assert not (folder / "report.html").exists()


def test_an_unfinished_write_leaves_the_old_page(report, folder, monkeypatch):
    page = folder / "report.html"
    page.write_text("old")

    def fill_disk(path, data):
        path.open("wb").write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fill_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        write(report, folder)
    assert caught.value.filename == str(page)
    assert page.read_text() == "old"
    assert {path.name for path in folder.iterdir()} == {"gallery", "report.html"}
