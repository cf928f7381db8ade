"""The report of `avts demo` as one HTML file that needs nothing else: no network, no other file.

Every number of the page comes from the report; what a report does not hold is left out, with a
sentence that says so.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from avts_ext._files import write_atomically
from avts_ext.demo.figures import Series, comparison_svg, curve_svg
from avts_ext.demo.protocols import in_plain_words
from avts_ext.demo.style import STYLE
from avts_ext.evaluation.report import Result

__all__ = ["REPORT_VERSION", "write_html"]

REPORT_VERSION = 1

Record = Mapping[str, Any]

_MEASURES = {"sync_hard": "Sync, same video", "audio_probe": "Kind of sound"}
_GROUPS = {
    "sync": "Does the sound belong to the moment?",
    "features": "What else has the network learned?",
    "place": "Where does the sound come from?",
    "other": "More results",
}
_GROUP_NOTES = {
    "sync": "Every question has a right answer that follows from when things happen.",
    "features": "Labels are used here for the first time, and few of them.",
    "place": "A map says for every place of the picture how likely the sound comes from there; it "
    "points where it is highest. In a solo scene one object shows events and is heard. In a duet "
    "both objects show events, at different times, and one is heard, so that a map has to listen.",
    "other": "Protocols of this run that this page has no words for.",
}
_SCENES = {
    "solo": "Solo: one object shows events and is heard, the other only moves",
    "duet": "Duet: both objects show events, one of them is heard",
}
_MEDIA_TYPES = {".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg"}
_HOW_TO_READ = {
    "measured": "the figure of this run, on videos that were not trained on.",
    "95 % interval": "where the figure may lie, given how few videos it was measured on.",
    "chance": "what guessing gives.",
    "random network": "the same measurement on a network that has learned nothing.",
    "wrong audio": "the same measurement with the sound of another video. A map that is as right "
    "with the wrong sound does not listen.",
    "no audio": "the map is the activity of the video network alone.",
    "centre": "the map always points at the middle of the picture, as a guess would.",
    "n": "number of questions, frames or videos behind the figure.",
}


def write_html(report: Record, folder: Path, path: Path) -> None:
    """Write the report as HTML; an existing file is replaced only when all is written.

    Args:
        report: content of the run's report.json, version 1.
        folder: what the gallery's paths are relative to.
        path: the HTML file.

    Raises:
        ValueError: a report of another version, or a file of the gallery of unknown type.
        KeyError: a record of the report without one of its fields.
        FileNotFoundError: a file of the gallery is not there; nothing is written.
        OSError: ``path`` cannot be written.
    """
    if report.get("version") != REPORT_VERSION:
        raise ValueError(f"report: got version {report.get('version')}, expected {REPORT_VERSION}")
    write_atomically(path, _page(report, folder).encode())


def _page(report: Record, folder: Path) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:">
<title>avts demo, seed {_text(report.get("seed", "unknown"))}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
{_summary(report)}
</header>
<main>
{_effects(report.get("effects"))}
{_epochs(report)}
{_subsets(report)}
{_results(report.get("results"))}
{_gallery(report.get("gallery"), folder)}
{_repeat(report)}
</main>
</body>
</html>
"""


def _summary(report: Record) -> str:
    length = "quick" if report.get("quick") else "full"
    command = _text(report.get("command", "avts demo"))
    created = f" on {_text(report['created'])}" if "created" in report else ""
    skipped = f"; {_text(report['skipped'])}" if "skipped" in report else ""
    return f"""<h1>Learning from the synchrony of sound and picture</h1>
<p class="muted">A {length} run of <code>{command}</code>{created},
seed {_text(report.get("seed", "unknown"))}{skipped}.</p>
<p class="lead">{_verdict(report.get("effects"))}</p>
<p>A network saw and heard short generated videos and learned one thing: whether a sound belongs to
the moment of a picture. No label was used for that. This page shows what came of it, measured on
videos that were not trained on, with figures that are bad as well as those that are good.</p>"""


def _verdict(effects: Sequence[Record] | None) -> str:
    if not effects:
        return "This run tested no effect."
    failed = [_text(effect["name"]) for effect in effects if not effect["holds"]]
    if not failed:
        return f"All {len(effects)} effects that were expected hold in this run."
    return (
        f"<strong>{len(failed)} of {len(effects)} expected effects "
        f"{'does' if len(failed) == 1 else 'do'} not hold in this run: "
        f"{'; '.join(failed)}.</strong>"
    )


def _effects(effects: Sequence[Record] | None) -> str:
    if not effects:
        return _absent("Effects", "This run tested no effect.")
    return _section("Effects", f'<ul class="effects">{_join(map(_effect, effects))}</ul>')


def _effect(effect: Record) -> str:
    kind, badge = ("holds", "✓ holds") if effect["holds"] else ("fails", "✗ does not hold")
    return f"""<li class="effect {kind}"><span class="badge">{badge}</span>
<h3>{_text(effect["name"])}</h3>
<p>{_text(effect["claim"])}</p>
<p>Measured <strong>{_text(effect["measured"])}</strong>, expected {_text(effect["expected"])}.</p>
</li>"""


def _epochs(report: Record) -> str:
    title = "What more training brings"
    rows = report.get("epochs", ())
    if not _measured(rows):
        return _absent(title, "This run did not measure accuracy against epochs.")
    plot = _curves(rows, "epoch", "epochs of training", "epochs", report.get("results", ()))
    intro = (
        "<p>Both measures at several moments of pretraining, epoch 0 being the untrained network. "
        "The shaded band is the 95 % interval, the dotted line of the same colour is chance.</p>"
    )
    body = f'{intro}<div class="side">{plot}{_measure_table(rows, {"epoch": "epoch"})}</div>'
    return _section(title, body + _training(report.get("training")))


def _training(rows: Sequence[Record] | None) -> str:
    if not rows:
        return "<p>This run kept no record of its training.</p>"
    names = list(dict.fromkeys(name for row in rows for name in row))
    header = [name.replace("_", " ") for name in names]
    cells = [[_logged(row.get(name)) for name in names] for row in rows]
    table = _table(header, cells, numbers_from=0)
    return f"<details><summary>Training, epoch by epoch</summary>{table}</details>"


def _subsets(report: Record) -> str:
    title = "What more videos bring"
    subsets = report.get("subsets", {})
    rows = subsets.get("rows", ())
    if not _measured(rows):
        return _absent(title, "This run did not train on smaller sets of videos.")
    plot = _curves(rows, "videos", "training videos", "subsets", report.get("results", ()))
    table = _measure_table(rows, {"percent": "% of the videos", "videos": "videos"})
    intro = (
        "<p>A network of its own was trained on each part of the videos. Rule of comparison: "
        f"{_text(subsets['rule'])}.</p>"
    )
    return _section(title, f'{intro}<div class="side">{plot}{table}</div>')


def _curves(
    rows: Sequence[Record], x: str, x_label: str, name: str, results: Sequence[Record]
) -> str:
    series = []
    for key in _measured(rows):
        places, measures = zip(*((row[x], row[key]) for row in rows if row.get(key)), strict=True)
        values, lows, highs = ([m[end] for m in measures] for end in ("value", "low", "high"))
        chance = _chance(key, results)
        series.append(Series(_MEASURES[key], places, values, lows, highs, chance))
    said = [
        f"{one.name} from {one.values[0]:.3f} at {one.x[0]} to {one.values[-1]:.3f} at {one.x[-1]}"
        for one in series
    ]
    return _plot(curve_svg(series, x_label, name), f"Against {x_label}: {'; '.join(said)}.")


def _chance(measure: str, results: Sequence[Record]) -> float | None:
    """Chance level of the first result that measures the same."""
    alike = [r for r in results if in_plain_words(r["protocol"]).name == _MEASURES[measure]]
    return alike[0]["chance"] if alike else None


def _measured(rows: Sequence[Record]) -> list[str]:
    return [key for key in _MEASURES if any(row.get(key) for row in rows)]


def _measure_table(rows: Sequence[Record], leading: dict[str, str]) -> str:
    keys = _measured(rows)
    header = [*leading.values(), *(_MEASURES[key] for key in keys)]
    cells = [
        [_text(row[key]) for key in leading]
        + [_with_interval(row[key]) if row.get(key) else "" for key in keys]
        for row in rows
    ]
    return _table(header, cells, numbers_from=0)


def _with_interval(measure: Record) -> str:
    return (
        f"<strong>{measure['value']:.3f}</strong> "
        f'<span class="muted">{measure["low"]:.3f}–{measure["high"]:.3f}</span>'
    )


def _results(records: Sequence[Record] | None) -> str:
    if not records:
        return _absent("Results", "This run holds no results.")
    results = [Result.from_dict(dict(record)) for record in records]
    parts = [_how_to_read(results)]
    for group, title in _GROUPS.items():
        chosen = [r for r in results if in_plain_words(r.protocol).group == group]
        if chosen:
            parts.append(_section(title, _result_group(group, chosen)))
    return _join(parts)


def _how_to_read(results: Sequence[Result]) -> str:
    used = {"measured", "95 % interval", "chance", "random network", "n"}
    used.update(name for result in results for name in result.controls)
    terms = {name: text for name, text in _HOW_TO_READ.items() if name in used}
    return _section("How to read the numbers", _terms(terms))


def _terms(terms: Mapping[str, str]) -> str:
    rows = [f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in terms.items()]
    return f"<dl>{_join(rows)}</dl>" if rows else ""


def _result_group(group: str, results: Sequence[Result]) -> str:
    plain = [in_plain_words(result.protocol) for result in results]
    terms = {one.name: one.sentence for one in plain if one.sentence}
    intro = f"<div><p>{_GROUP_NOTES[group]}</p>{_terms(terms)}</div>"
    rates = [result for result in results if result.unit == "rate"]
    plot = _plot(comparison_svg(rates, group), _comparison_text(rates)) if rates else ""
    return f'<div class="side">{intro}{plot}</div>{_result_table(results)}'


def _comparison_text(results: Sequence[Result]) -> str:
    return " ".join(
        f"{in_plain_words(r.protocol).full_name}: {r.value:.3f}"
        + (f", chance {r.chance:.3f}" if r.chance is not None else "")
        + (f", random network {r.baseline:.3f}" if r.baseline is not None else "")
        + "".join(f", {name} {figure:.3f}" for name, figure in r.controls.items())
        + "."
        for r in results
    )


def _result_table(results: Sequence[Result]) -> str:
    columns = {
        "what": [_named(r) for r in results],
        "measured": [f"<strong>{_with_unit(r.value, r.unit)}</strong>" for r in results],
        "95 % interval": [_interval_or_blank(r.interval) for r in results],
        "chance": [_figure_or_blank(r.chance) for r in results],
        "random network": [_figure_or_blank(r.baseline) for r in results],
    }
    for name in dict.fromkeys(name for r in results for name in r.controls):
        columns[name] = [_figure_or_blank(r.controls.get(name)) for r in results]
    columns["sd over seeds"] = [_figure_or_blank(r.spread) for r in results]
    columns["n"] = [str(r.n) for r in results]
    columns["seeds"] = [", ".join(map(str, r.seeds)) for r in results]
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    return _table(list(shown), list(zip(*shown.values(), strict=True)), numbers_from=1)


def _named(result: Result) -> str:
    name = in_plain_words(result.protocol).full_name
    code = f'<code class="muted">{_text(result.protocol)}</code>'
    return code if name == result.protocol else f"{_text(name)} {code}"


def _gallery(exhibits: Sequence[Record] | None, folder: Path) -> str:
    title = "See and hear it"
    if not exhibits:
        return _absent(title, "This run made no gallery of videos.")
    intro = (
        "<p>Videos that were not trained on, with sound. Colour shows where the network finds the "
        "sound; the solid box is the object that is heard, the dashed one the object that is "
        "not. Beside each: the same picture with the sound of another video.</p>"
    )
    parts = []
    for scene in dict.fromkeys(exhibit["scene"] for exhibit in exhibits):
        chosen = [_exhibit(exhibit, folder) for exhibit in exhibits if exhibit["scene"] == scene]
        parts.append(f"<h3>{_text(_SCENES.get(scene, scene))}</h3>")
        parts.append(f'<div class="gallery">{_join(chosen)}</div>')
    return _section(title, intro + _join(parts))


def _exhibit(exhibit: Record, folder: Path) -> str:
    title, truth = _text(exhibit["title"]), _text(exhibit["truth"])
    still, wrong, video = (
        _data_uri(exhibit, key, folder) for key in ("still", "wrong_audio_still", "video")
    )
    return f"""<article class="exhibit">
<h4>{title}</h4>
<p>{truth}</p>
<div class="media">
<figure><video controls playsinline preload="auto" src="{video}"
 aria-label="{title}: video with sound"></video>
<figcaption>Video with its sound</figcaption></figure>
<figure><img src="{still}" alt="{title}: map for its own sound. {truth}">
<figcaption>Map for its own sound</figcaption></figure>
<figure><img src="{wrong}" alt="{title}: map for the sound of another video">
<figcaption>Control: map for the sound of another video</figcaption></figure>
</div>
<p class="muted">Highest point on the heard object in <strong>{exhibit["on_source"]:.3f}</strong>
of the moments, on the silent one in <strong>{exhibit["on_silent"]:.3f}</strong>; overlap with the
heard object (IoU) <strong>{exhibit["iou"]:.3f}</strong>.</p>
</article>"""


def _data_uri(exhibit: Record, key: str, folder: Path) -> str:
    path = folder / exhibit[key]
    if path.suffix not in _MEDIA_TYPES:
        raise ValueError(
            f"gallery: {key} of {exhibit['title']!r} is {str(path)!r}, "
            f"expected a file of type {', '.join(_MEDIA_TYPES)}"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"gallery: {key} of {exhibit['title']!r} is {str(path)!r}, which is not there"
        )
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_MEDIA_TYPES[path.suffix]};base64,{content}"


def _repeat(report: Record) -> str:
    parts = [f"<pre>{_text(report['command'])}</pre>" if "command" in report else ""]
    tables = {
        "Seeds": ("seeds", "what is drawn", "seed"),
        "Time": ("seconds", "stage", "seconds"),
        "Machine": ("machine", "what", "value"),
        "Versions": ("versions", "package", "version"),
        "Files": ("files", "what", "path"),
    }
    blocks = [
        f"<div><h3>{title}</h3>{_table([name, value], _pairs(report[key]), numbers_from=2)}</div>"
        for title, (key, name, value) in tables.items()
        if report.get(key)
    ]
    missing = [title.lower() for title, (key, _, _) in tables.items() if not report.get(key)]
    if missing:
        parts.append(f"<p>Not recorded in this run: {', '.join(missing)}.</p>")
    return _section("How to repeat it", _join(parts) + f'<div class="side">{_join(blocks)}</div>')


def _pairs(record: Record) -> list[list[str]]:
    return [
        [_text(key), f"{value:.1f}" if isinstance(value, float) else _text(value)]
        for key, value in record.items()
    ]


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>"


def _absent(title: str, sentence: str) -> str:
    return _section(title, f'<p class="muted">{sentence}</p>')


def _plot(svg: str, description: str) -> str:
    labelled = svg.replace("<svg", f'<svg role="img" aria-label="{_text(description)}"', 1)
    return f'<figure class="plot">{labelled}</figure>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    """A table that scrolls in its own box; cells are HTML, columns from `numbers_from` numbers."""

    def row_of(tag: str, cells: Iterable[str]) -> str:
        kinds = ("number" if i >= numbers_from else "words" for i in range(len(header)))
        marked = (f'<{tag} class="{k}">{c}</{tag}>' for k, c in zip(kinds, cells, strict=True))
        return f"<tr>{_join(marked)}</tr>"

    head, body = row_of("th", map(_text, header)), _join(row_of("td", row) for row in rows)
    return (
        '<div class="scroll" tabindex="0">'
        f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _logged(entry: object) -> str:
    """An entry of the training's record, by significant digits: a rate may be far below 0.001."""
    if isinstance(entry, float):
        return f"{entry:.4g}"
    return "" if entry is None else _text(entry)


def _figure_or_blank(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3f}"


def _interval_or_blank(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else "{:.3f}–{:.3f}".format(*interval)


def _with_unit(figure: float, unit: str) -> str:
    return f"{figure:.3f}" + ("" if unit == "rate" else f" {_text(unit)}")


def _text(value: object) -> str:
    return escape(str(value))


def _join(parts: Iterable[str]) -> str:
    return "\n".join(parts)
