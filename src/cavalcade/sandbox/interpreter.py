"""Which folders a Python interpreter needs to be seen inside a sandbox, found by reading alone.

The interpreter is never started to ask it: it may be the project's own `.venv`, and nothing of a project runs outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cavalcade.kernel.errors import UsageError

_MOST_LINKS = 40
_SYSTEM = (Path("/usr"), Path("/bin"), Path("/lib"), Path("/lib64"))


def interpreter_roots(python: Path, *, home: Path) -> tuple[Path, ...]:
    """Folders and links to hand over as `Command.readable` so that `python` runs inside under the same path.

    Covers a virtual environment, the installation it was made from and every symbolic link on the way. What lies under /usr is
    there anyway. Only a folder that looks like a Python installation is named, and never `/`, `home` or a folder above it, so
    that a link planted in a project can't open somebody's home. Raises UsageError.
    """
    if not python.is_absolute():
        raise UsageError(f"interpreter {str(python)!r} is not an absolute path")
    found: dict[Path, None] = {}
    waiting = [python]
    seen: set[Path] = set()
    while waiting:
        start = waiting.pop()
        for hop in _links(start):
            prefix = hop.parent.parent
            if hop in seen:
                continue
            seen.add(hop)
            if _is_prefix(prefix):
                _add_folder(found, prefix, home)
                waiting += _base_interpreters(prefix)
            elif hop.is_symlink():
                found[hop] = None
    if not os.access(python, os.X_OK):
        raise UsageError(f"no interpreter at {python}", hint="name one with --python")
    return tuple(path for path in found if not any(path.is_relative_to(system) for system in _SYSTEM))


def _links(path: Path) -> Iterator[Path]:
    """The path itself and what each symbolic link at its end points to, as written, then the resolved one."""
    for _ in range(_MOST_LINKS):
        yield path
        try:
            target = os.readlink(path)
        except OSError:
            break
        path = Path(os.path.normpath(path.parent / target))
    yield path.resolve()


def _is_prefix(folder: Path) -> bool:
    """A virtual environment, or an installation: its standard library is in it."""
    return (folder / "pyvenv.cfg").is_file() or any(folder.glob("lib/python3*/os.py"))


def _base_interpreters(prefix: Path) -> list[Path]:
    """For a virtual environment the interpreter named in its `pyvenv.cfg`."""
    try:
        descriptor = os.open(prefix / "pyvenv.cfg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    with open(descriptor, encoding="utf-8", errors="replace") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return []
        text = file.read(65536)
    keys = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines())}
    home = keys.get("home", "")
    return [Path(home) / "python3"] if os.path.isabs(home) else []


def _add_folder(found: dict[Path, None], prefix: Path, home: Path) -> None:
    """The prefix, and when it is a link, the link and what it leads to."""
    for folder in _links(prefix):
        real = folder.resolve()
        if real == Path("/") or home.resolve().is_relative_to(real):
            raise UsageError(
                f"the interpreter's folder {folder} holds more than an interpreter",
                hint="name another interpreter with --python",
            )
        found[folder] = None
