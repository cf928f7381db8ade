"""Where a benchmark's figures go in a page of docs/results."""

from pathlib import Path


def put(page: str, name: str, text: str) -> None:
    """Replace what stands between the comments `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = Path(page).read_text().split(begin)
    _, after = rest.split(end)
    Path(page).write_text(f"{before}{begin}{text.strip()}\n\n{end}{after}")
