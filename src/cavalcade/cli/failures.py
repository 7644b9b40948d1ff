"""What goes wrong, as text for people, as problem details (RFC 9457) for programs, and as an exit status."""

from __future__ import annotations

import errno
import traceback
from typing import TYPE_CHECKING

from cavalcade.kernel.errors import CavalcadeError, Defect, Interrupted, LedgerUnwritable
from cavalcade.protocol.problem import problem_document

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

    from cavalcade.cli.terminal import Terminal

DONE, DEFECT, USAGE, WAITS, STOPPED, DIVERGED = 0, 1, 2, 3, 10, 11
INTERRUPTED, PIPE_CLOSED = 130, 141
"""128 + SIGINT, 128 + SIGPIPE: what a shell expects."""


def disk_full(error: OSError) -> LedgerUnwritable | None:
    """Where scratch copies and caches are written, every write may find the disk full; None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return LedgerUnwritable(
        f"the disk is full{where}",
        hint="make room where CAVALCADE_HOME and the temporary folder lie: what was acknowledged is safe",
    )


def error_text(error: CavalcadeError) -> Text:
    """The error as lines: what, expected, places, hint. Nothing in it is taken for markup."""
    from rich.text import Text

    text = Text.assemble(("error: ", "bold red"), error.what)
    if error.expected:
        text.append("\n  expected: ", "bold").append(error.expected)
    for place in error.places:
        text.append(f"\n    {place}")
    if error.hint:
        text.append("\n  hint: ", "bold cyan").append(error.hint)
    return text


def without_secrets(error: CavalcadeError, terminal: Terminal) -> CavalcadeError:
    """The same error, its words redacted: terminals are recorded and logs are kept."""
    from copy import copy

    from cavalcade.kernel.redaction import Redactor

    redactor = Redactor(terminal.environ)
    redacted = copy(error)
    for name in ("what", "expected", "hint"):
        setattr(redacted, name, redactor.redact(getattr(error, name)).text)
    redacted.places = tuple(redactor.redact(place).text for place in error.places)
    return redacted


def report_failure(terminal: Terminal, error: CavalcadeError) -> int:
    """Says what happened, on stderr and, where JSON was asked for, on stdout; the exit status."""
    error = without_secrets(error, terminal)
    if isinstance(error, Interrupted) and terminal.stderr.isatty():
        terminal.say("")  # the cursor stands behind a prompt, or behind `^C`
    terminal.say(error_text(error))
    if terminal.run is not None:
        terminal.say(f"  run {terminal.run} is on the record; go on with: cavalcade resume {terminal.run}")
    terminal.document(problem_document(error) | ({"run": terminal.run} if terminal.run else {}))
    return error.exit_status


def report_defect(terminal: Terminal, exc: BaseException) -> int:
    """Keeps the traceback in the cache folder and says where."""
    from cavalcade.config.paths import data_folder
    from cavalcade.kernel.redaction import Redactor

    folder = data_folder(terminal.environ).cache / "defects"
    text = Redactor(terminal.environ).redact("".join(traceback.format_exception(exc))).text
    kept = f"the traceback is in {_keep(text, folder)}"
    what = f"Cavalcade has a defect: {type(exc).__name__}: {exc}"
    return report_failure(terminal, Defect(what, hint=f"{kept}; please report it with the command you gave"))


def _keep(text: str, folder: Path) -> str:
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", prefix="defect-", suffix=".txt", dir=folder, delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        with tempfile.NamedTemporaryFile(
            "w", prefix="cavalcade-defect-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    return file.name
