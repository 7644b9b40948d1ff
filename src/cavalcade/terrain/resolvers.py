"""Resolvers: independent programs that know types, asked where a name is defined and who refers to it.

`Ty` is fast and complete on imports; `Pyrefly` follows override families and is the second opinion. Both read the workspace folder
and write nothing to it. The binaries are those of Cavalcade's own environment, never of the user's project.
"""

from __future__ import annotations

import asyncio
import itertools
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import unquote, urlsplit

from cavalcade.kernel.errors import ToolFailed
from cavalcade.terrain.lsp import LanguageServer, Message
from cavalcade.terrain.source import Position, SourceText

_REQUEST_TIMEOUT_S = 120.0
_OVERLAP = 32
_CAPABILITIES: Message = {
    "general": {"positionEncodings": ["utf-16"]},
    "workspace": {"configuration": True, "workspaceFolders": True},
    "textDocument": {"definition": {"linkSupport": True}, "references": {}},
}


class Spot(NamedTuple):
    """A range's start in a file: byte offset of the body. `path` is relative to the workspace, absolute when outside it."""

    path: str
    start: int


Texts = Callable[[str], SourceText | None]
"""The text of a workspace path; None when there is none."""


def tool(name: str) -> Path:
    """A program of Cavalcade's own environment. Raises ToolFailed."""
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        raise ToolFailed(
            f"{name} is missing beside Python at {path}", hint="install cavalcade again: its resolvers come with it"
        )
    return path


class Resolver(ABC):
    """One language server over a workspace folder. Starts at the first question, or before it by `warm`."""

    name = "resolver"

    def __init__(
        self,
        workspace: Path,
        texts: Texts,
        *,
        environ: Mapping[str, str],
        python: Path | None = None,
        roots: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """`roots` gives the source roots, relative to the workspace; asked when the process starts."""
        self._workspace = workspace.resolve()
        self._texts = texts
        self._environ = environ
        self._python = python
        self._roots = roots
        self._server: LanguageServer | None = None
        self._starting: asyncio.Task[LanguageServer] | None = None
        self._open: set[str] = set()
        self._versions = itertools.count(2)
        self._slots = asyncio.Semaphore(_OVERLAP)

    @abstractmethod
    def _argv(self) -> tuple[str, ...]:
        """The server's command."""

    @abstractmethod
    def _settings(self, section: str) -> object:
        """The answer to the server's `workspace/configuration`."""

    def _options(self) -> Message:
        return {}

    def warm(self) -> None:
        """Starts the process in the background."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())

    async def ready(self) -> None:
        """Returns once the process answers. Raises ServerGone."""
        await self._running()

    async def _start(self) -> LanguageServer:
        self._server = LanguageServer(
            self._argv(),
            self._workspace,
            environ=self._environ,
            settings=self._settings,
            timeout_s=_REQUEST_TIMEOUT_S,
        )
        await self._server.start(self._options(), capabilities=_CAPABILITIES)
        return self._server

    async def _running(self) -> LanguageServer:
        self.warm()
        assert self._starting is not None
        return await asyncio.shield(self._starting)

    async def definitions(self, path: str, offset: int) -> tuple[Spot, ...]:
        """Where the name at a position is defined; empty when the resolver doesn't know. Raises ServerGone."""
        async with self._slots:
            server = await self._running()
            params = self._params(server, path, offset)
            result = await server.request("textDocument/definition", params) if params else None
        return self._spots(result)

    async def references(self, path: str, offset: int) -> tuple[Spot, ...]:
        """Every reference to the name at a position, its declaration included. Raises ServerGone."""
        server = await self._running()
        params = self._params(server, path, offset)
        if not params:
            return ()
        return self._spots(
            await server.request("textDocument/references", {**params, "context": {"includeDeclaration": True}})
        )

    async def probe(self, path: str, expression: str, name: str) -> tuple[Spot, ...] | None:
        """Where `expression.name` is defined, asked as if it stood at the end of the file; None when the expression itself is unknown.

        The file's text is changed in the server's memory only, and changed back.
        """
        server = await self._running()
        source = self._texts(path)
        if source is None or not self._params(server, path, 0):
            return None
        body = source.body.decode(errors="replace")
        probe = SourceText.of(f"{body}\n\n{expression}.{name}\n".encode())
        uri = (self._workspace / path).as_uri()

        def change(text: str) -> None:
            document = {"uri": uri, "version": next(self._versions)}
            server.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": text}]})

        change(probe.body.decode(errors="replace"))
        end = len(probe.body) - 1 - len(name.encode())
        try:
            found = [await self._defined(server, uri, probe.position(offset)) for offset in (end, end - 2)]
        finally:
            change(body)
        known = [spot for spot in found[1] if not (spot.path == path and spot.start >= 0)]
        return found[0] if found[0] or known else None

    async def _defined(self, server: LanguageServer, uri: str, position: Position) -> tuple[Spot, ...]:
        params = {"textDocument": {"uri": uri}, "position": {"line": position.line, "character": position.character}}
        return self._spots(await server.request("textDocument/definition", params))

    def _params(self, server: LanguageServer, path: str, offset: int) -> Message:
        source = self._texts(path)
        if source is None or source.odd:
            return {}
        uri = (self._workspace / path).as_uri()
        if path not in self._open:
            self._open.add(path)
            document = {"uri": uri, "languageId": "python", "version": 1, "text": source.body.decode(errors="replace")}
            server.notify("textDocument/didOpen", {"textDocument": document})
        position = source.position(offset)
        return {"textDocument": {"uri": uri}, "position": {"line": position.line, "character": position.character}}

    def _spots(self, result: object) -> tuple[Spot, ...]:
        items = cast("list[Message]", result if isinstance(result, list) else [result] if result else [])
        spots: dict[Spot, None] = {}
        for item in items:
            spot = self._spot(item)
            if spot is not None:
                spots[spot] = None
        return tuple(spots)

    def _spot(self, item: Message) -> Spot | None:
        uri = item.get("targetUri") or item.get("uri") or ""
        span = item.get("targetSelectionRange") or item.get("range")
        parts = urlsplit(uri)
        if parts.scheme != "file" or not span:
            return Spot(uri, -1) if uri else None
        absolute = Path(unquote(parts.path))
        if not absolute.is_relative_to(self._workspace):
            return Spot(str(absolute), -1)
        path = absolute.relative_to(self._workspace).as_posix()
        source = self._texts(path)
        if source is None:
            return Spot(path, -1)
        start = span["start"]
        return Spot(path, source.offset(Position(start["line"], start["character"])))

    async def aclose(self) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._server is not None:
            await self._server.aclose()


class Ty(Resolver):
    name = "ty"

    def _argv(self) -> tuple[str, ...]:
        return (str(tool("ty")), "server")

    def _options(self) -> Message:
        return {"logLevel": "error", **self._configuration()}

    def _settings(self, section: str) -> object:
        return self._configuration() if section == "ty" else None

    def _configuration(self) -> Message:
        environment: Message = {}
        if self._python is not None:
            environment["python"] = str(self._python)
        if set(self._roots()) - {"", "src"}:
            environment["root"] = [str(self._workspace / root) for root in (*self._roots(), "tests")]
        inline: Message = {"src": {"respect-ignore-files": False}, "environment": environment}
        return {"diagnosticMode": "off", "configuration": inline}


class Pyrefly(Resolver):
    name = "pyrefly"

    def _argv(self) -> tuple[str, ...]:
        return (str(tool("pyrefly")), "lsp", "--indexing-mode", "none")

    def _settings(self, section: str) -> object:
        if section != "python":
            return None
        paths = [str(self._workspace / root) for root in self._roots()]
        settings: Message = {
            "pyrefly": {"displayTypeErrors": "force-off", "disableTypeErrors": True, "extraSearchPaths": paths}
        }
        if self._python is not None:
            settings["pythonPath"] = str(self._python)
        return settings
