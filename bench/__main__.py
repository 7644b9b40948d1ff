"""One table of everything measured: `python -m bench [--json] [NAME ...]`.

Every module here with a function `run() -> list[Row]` takes part. Exit status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.table import Row


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ratios against peers and limits.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ({', '.join(names())}); all when none is given"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per row, on standard output")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(names()):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in chosen.names or names():
        print(f"bench: {name} ...", file=sys.stderr, flush=True)
        for row in _runner(name)():
            rows.append(row)
            print(json.dumps(row._asdict()) if chosen.json else row, flush=True)
    return 0 if all(row.ok for row in rows) else 1


def names() -> list[str]:
    """Modules beside this one that measure something."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in found if not name.startswith("_") and hasattr(_module(name), "run"))


def _module(name: str) -> object:
    return importlib.import_module(f"bench.{name}")


def _runner(name: str) -> Callable[[], list[Row]]:
    runner: Callable[[], list[Row]] = getattr(_module(name), "run")  # noqa: B009
    return runner


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
