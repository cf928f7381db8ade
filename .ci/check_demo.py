"""Fails unless a folder holds a complete report of `avts demo` whose effects all hold."""

import json
import re
import sys
from pathlib import Path

folder = Path(sys.argv[1])
report = json.loads((folder / "report.json").read_text())
page = (folder / "report.html").read_text()

assert [effect["name"] for effect in report["effects"] if not effect["holds"]] == []
assert len(report["effects"]) == 10
assert len(report["results"]) == 18
for result in report["results"]:
    assert 0 <= result["value"] <= 1 and 0 <= result["baseline"] <= 1, result
    if result["protocol"].startswith("boxes"):
        assert set(result["controls"]) == {"wrong audio", "no audio", "centre"}, result
    else:
        assert 0 < result["chance"] < 1, result
    assert f"{result['value']:.3f}" in page, result["protocol"]
assert report["epochs"][0]["epoch"] == 0 and len(report["epochs"]) > 3
assert len(report["subsets"]["rows"]) > 1
assert page.count("data:video/mp4;base64,") == len(report["gallery"]) > 0
assert page.count("data:image/png;base64,") == 2 * len(report["gallery"])
assert not re.search(r"""(src|href)=["'](?!data:|#)""", page), "the page refers to another file"
print(f"{folder}: complete, all effects hold")
