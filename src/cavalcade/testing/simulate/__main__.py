"""`python -m cavalcade.testing.simulate [--seeds N] [--first N] [--trace] [--bug NAME]`: simulates seeds one after the other.

Failing seeds go to stderr with the command that shows one again; the summary goes to stdout. Exit status 1 when a seed failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from cavalcade.testing.simulate.bugs import BUGS
from cavalcade.testing.simulate.report import failure_text, summary, tally, trace, verdicts
from cavalcade.testing.simulate.simulation import Verdict, simulate

_TELL_EVERY = 5000


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="simulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="all that happened, line by line, and its digest")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with a mistake put in on purpose")
    arguments = parser.parse_args()
    run = BUGS[arguments.bug].simulate if arguments.bug else simulate
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    told = tally(_said(verdicts(seeds, run), whole=arguments.trace, bug=arguments.bug or ""))
    sys.stdout.write(summary(told) + "\n")
    return 1 if told.failures else 0


def _said(found: Iterator[Verdict], *, whole: bool, bug: str) -> Iterator[Verdict]:
    for number, verdict in enumerate(found, start=1):
        if number % _TELL_EVERY == 0:
            sys.stderr.write(f"{number} seeds\n")
        if whole:
            sys.stdout.write(f"{trace(verdict)}\ndigest {verdict.digest}\n")
        if verdict.violations:
            sys.stderr.write(failure_text(verdict, bug=bug) + "\n")
        yield verdict


if __name__ == "__main__":
    sys.exit(main())
