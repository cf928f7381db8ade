"""``avts VERB``: every verb is an ordinary function, and its docstring is its help."""

import importlib
import inspect
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

from jsonargparse import auto_cli

# Verb -> "module:function", or a dict of functions by the names below the verb. Imported only when
# asked for: `avts doctor` must answer where torch or PyAV is broken.
VERBS = {
    "demo": "avts_ext.demo.run:demo",
    "doctor": "avts_ext.cli.doctor:doctor",
    "index": "avts_ext.cli.index:index",
    "shards": "avts_ext.cli.shards:shards",
    "world": "avts_ext.world:generate",
    "pretrain": "avts_ext.cli.pretrain:pretrain",
    "features": "avts_ext.cli.features:features",
    "export": "avts_ext.cli.export:export",
    "evaluate": "avts_ext.cli.evaluate:TASKS",
    "ablate": "avts_ext.cli.ablate:TASKS",
    "results": "avts_ext.cli.results:results",
    "localize": "avts_ext.cli.localize:localize",
    "sync": "avts_ext.cli.sync:sync",
    "calibrate": "avts_ext.cli.sync:calibrate",
}

# What these take has no order to remember: --checkpoint, --data, --out_dir.
BY_NAME = ("features", "export", "evaluate", "ablate")

USAGE = f"usage: avts VERB [options]\n\nverbs: {', '.join(VERBS)}\n\navts VERB --help tells more."


def load(verb: str) -> Any:
    """The function or functions behind a verb."""
    module, function = VERBS[verb].split(":")
    return getattr(importlib.import_module(module), function)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; the exit status is 0, or 2 for unusable arguments, or 1 for a failure."""
    verb, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if verb in ("-h", "--help"):
        print(USAGE)
        return 0
    if verb not in VERBS:
        print(f"avts: verb is {verb!r}, expected one of: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        usage = f"avts {verb} [arguments]"
        functions = load(verb)
        rest = _spell_out_list(functions, _spell_out_flags(functions, rest))
        auto_cli(
            functions,
            as_positional=verb not in BY_NAME,
            args=rest,
            prog=f"avts {verb}",
            usage=usage,
            allow_abbrev=False,
        )
    except (ValueError, OSError, ArithmeticError) as error:
        # These carry messages written for users: bad input, files, a loss that is not finite.
        print(f"avts {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        # A verb that can go on later says so in the message.
        print(f"\navts {verb}: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


def _spell_out_flags(
    functions: Callable[..., Any] | dict[str, Callable[..., Any]], arguments: list[str]
) -> list[str]:
    """``--quick`` becomes ``--quick=true``, as jsonargparse wants it, and ``-o`` ``--output``."""
    every = functions.values() if isinstance(functions, dict) else [functions]
    parameters = [p for function in every for p in inspect.signature(function).parameters.values()]
    flags = {f"--{parameter.name}" for parameter in parameters if parameter.default is False}
    arguments = ["--output" if argument == "-o" else argument for argument in arguments]
    following = [*arguments[1:], "--"]
    return [
        f"{argument}=true" if argument in flags and after.startswith("--") else argument
        for argument, after in zip(arguments, following, strict=False)
    ]


def _spell_out_list(
    functions: Callable[..., Any] | dict[str, Callable[..., Any]], arguments: list[str]
) -> list[str]:
    """``a b`` in front means ``["a", "b"]`` for a function whose first parameter is a list."""
    if isinstance(functions, dict):
        return arguments
    first = next(iter(inspect.signature(functions).parameters.values()), None)
    if first is None or first.annotation != "list[str]":
        return arguments
    leading = list(itertools.takewhile(lambda argument: not argument.startswith("-"), arguments))
    return ([json.dumps(leading)] if leading else []) + arguments[len(leading) :]


if __name__ == "__main__":
    sys.exit(main())
