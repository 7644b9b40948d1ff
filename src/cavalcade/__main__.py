"""`python -m cavalcade` and the `cavalcade` command."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import NoReturn

from cavalcade import __version__


def main() -> NoReturn:
    """Never returns; the exit statuses are those of `kernel.errors`."""
    if sys.argv[1:] in (["version"], ["--version"]):
        # Told before the command tree is built, which takes ten times as long.
        sys.stdout.write(f"cavalcade {__version__}\n")
        sys.exit(0)

    from cavalcade.cli.app import command_line
    from cavalcade.cli.failures import PIPE_CLOSED, report_defect
    from cavalcade.cli.terminal import Terminal

    terminal = Terminal.of_process()

    def defect(_kind: type[BaseException], exc: BaseException, _trace: TracebackType | None) -> None:
        report_defect(terminal, exc)

    sys.excepthook = defect
    status = command_line(sys.argv[1:], terminal)
    if status == PIPE_CLOSED:
        # What is still buffered has no reader; without this the interpreter would complain about that at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


if __name__ == "__main__":
    main()
