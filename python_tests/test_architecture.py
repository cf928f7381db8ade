"""Imports between the packages and modules of avts_ext point one way."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import avts_ext

PACKAGE = Path(avts_ext.__file__).parent


def imported_names(path):
    """Dotted names below avts_ext that a source file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.startswith("avts_ext."))


def package_graph():
    """The packages and modules directly below avts_ext, each with those that it imports."""
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part != "__init__":
            imported = {name.split(".")[1] for name in imported_names(path)}
            graph.setdefault(part, set()).update(imported - {part})
    return graph


def module_graph():
    """The modules, each with those that it imports, for type checkers too.

    A package's `__init__` is none of them: it gathers names, and those who want one import all.
    """
    paths = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    names = {
        path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths
    }
    modules = set(names.values())
    return {name: modules & set(imported_names(path)) for path, name in names.items()}


def test_no_packages_import_each_other():
    graph = package_graph()
    assert graph["evaluation"] >= {"data", "models"}
    list(TopologicalSorter(graph).static_order())  # raises a CycleError that names the packages


def test_no_modules_import_each_other():
    graph = module_graph()
    assert graph["avts_ext.data.placement"] >= {"avts_ext.data.clips", "avts_ext.data.timeline"}
    list(TopologicalSorter(graph).static_order())
