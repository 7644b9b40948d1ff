"""Which parts of a workspace a command may write to: what a sandbox mounts from `Command.writable` and `Command.read_only`."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cavalcade.kernel.errors import UsageError
from cavalcade.sandbox.port import Command


@dataclass(frozen=True)
class Part:
    """A file or folder of the workspace, relative to it; what lies below it is as it is, but for deeper parts."""

    path: PurePosixPath
    writable: bool


def parts(command: Command) -> list[Part]:
    """The workspace itself first, then what differs, outer before inner. Of a path that is named twice, read-only counts.

    Raises UsageError for a path that is not there, that leaves the workspace, or that a symbolic link is part of: mounting it would
    open what the link leads to.
    """
    named = {_checked(command.workspace, path): True for path in command.writable}
    named |= {_checked(command.workspace, path): False for path in command.read_only}
    found = [Part(PurePosixPath("."), named.get(PurePosixPath("."), False))]
    for path in sorted(named, key=lambda path: (len(path.parts), path)):
        around = max((part for part in found if path.is_relative_to(part.path)), key=lambda part: len(part.path.parts))
        if around.writable != named[path]:
            found.append(Part(path, named[path]))
    return found


def _checked(workspace: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UsageError(f"{name!r} is no part of the workspace", expected="a relative path without '..'")
    at = workspace
    for component in path.parts:
        at = at / component
        try:
            mode = os.lstat(at).st_mode
        except OSError as exc:
            raise UsageError(
                f"{name!r} is not in the workspace: {exc.strerror}", expected="a path that exists"
            ) from exc
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise UsageError(
                f"{name!r} can't be a part of its own: {at.relative_to(workspace)} is a symbolic link or a special file",
                expected="folders and regular files",
            )
    return path
