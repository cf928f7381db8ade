"""Imports between the packages of avts_ext point one way."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import avts_ext

PACKAGE = Path(avts_ext.__file__).parent


def imported_parts(path):
    """First names below avts_ext that a source file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "avts_ext":
            names = [f"avts_ext.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.startswith("avts_ext."):
                yield name.split(".")[1]


def import_graph():
    """The packages and modules below avts_ext, each with those that it imports."""
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part != "__init__":
            graph.setdefault(part, set()).update(set(imported_parts(path)) - {part})
    return graph


def test_no_packages_import_each_other():
    graph = import_graph()
    assert graph["evaluation"] >= {"data", "models"}
    list(TopologicalSorter(graph).static_order())  # raises a CycleError that names the packages
