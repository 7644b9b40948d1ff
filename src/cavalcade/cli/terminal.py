"""Where a command reads and writes: data to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from cavalcade.kernel.ids import RunId

_NO_WRAP = 10_000
"""Columns where nobody looks: lines in a pipe are never wrapped, so that they can be searched."""


class Terminal:
    """`json` asks for one JSON document on stdout. `run` is the run that a command works on, for what is said when it ends badly."""

    def __init__(self, environ: Mapping[str, str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> None:
        self.environ = environ
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.json = False
        self.run: RunId | None = None

    @classmethod
    def of_process(cls) -> Terminal:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return cls(os.environ, sys.stdin, sys.stdout, sys.stderr)

    @property
    def live(self) -> bool:
        """Whether somebody watches who sees movement."""
        return self.stderr.isatty() and not self.json and self.environ.get("TERM") != "dumb"

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked."""
        return self.stdin.isatty() and self.stderr.isatty() and not self.json

    @cached_property
    def console(self) -> Console:
        """For stderr."""
        return _console(self.stderr)

    @cached_property
    def _data(self) -> Console:
        return _console(self.stdout)

    @property
    def columns(self) -> int:
        """Of what data is written to; very many where nobody looks."""
        return self._data.width

    def data(self, *renderables: RenderableType) -> None:
        """To stdout, for people; nothing when JSON was asked for."""
        if not self.json:
            _write(self._data, self.stdout, renderables)

    def document(self, value: object) -> None:
        """One JSON document to stdout, when that was asked for."""
        import msgspec

        if self.json:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
            self.stdout.flush()

    def line(self, value: object) -> None:
        """One JSON line to stdout."""
        import msgspec

        self.stdout.write(msgspec.json.encode(value).decode() + "\n")
        self.stdout.flush()

    def say(self, *renderables: RenderableType) -> None:
        """To stderr."""
        _write(self.console, self.stderr, renderables)

    @property
    def user(self) -> str:
        """Who acts, for the record."""
        import getpass

        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return f"uid {os.getuid()}"


def _console(file: TextIO) -> Console:
    from rich.console import Console

    return Console(
        file=file,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if file.isatty() else _NO_WRAP,
        soft_wrap=False,
    )


def _write(console: Console, file: TextIO, renderables: tuple[RenderableType, ...]) -> None:
    """Without the blanks that fill a table's last column."""
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    file.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
    file.flush()
