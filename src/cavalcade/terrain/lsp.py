"""A small client of the language server protocol over a child process's standard streams.

JSON-RPC 2.0 in `Content-Length` frames. Requests may overlap; each has its own time limit. The server's process group dies with the
client.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from cavalcade.kernel.errors import ServerGone

Message = dict[str, Any]
_STDERR_KEPT = 4_000
_READ_LIMIT = 64 * 1024
_CLOSE_TIMEOUT_S = 2.0


class LanguageServer:
    """One server process. `start` before anything else; `aclose` always.

    `settings(section)` answers the server's `workspace/configuration`; `notified(method, params)` hears its notifications.
    """

    def __init__(
        self,
        argv: Sequence[str],
        folder: Path,
        *,
        environ: Mapping[str, str],
        settings: Callable[[str], object],
        notified: Callable[[str, Message], None] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._argv = tuple(argv)
        self._folder = folder
        self._environ = dict(environ)
        self._settings = settings
        self._notified = notified
        self._timeout_s = timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._stderr = b""
        self._gone = ""

    async def start(self, options: Message, *, capabilities: Message) -> Message:
        """Starts the process and shakes hands; returns the server's capabilities. Raises ServerGone."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                cwd=self._folder,
                env=self._environ,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=_READ_LIMIT,
            )
        except OSError as exc:
            raise ServerGone(
                f"can't start {self._argv[0]}: {exc}", hint="`cavalcade doctor` checks the installation"
            ) from exc
        self._tasks = [asyncio.create_task(self._read(self._process)), asyncio.create_task(self._drain(self._process))]
        uri = self._folder.as_uri()
        params: Message = {
            "processId": os.getpid(),
            "rootUri": uri,
            "workspaceFolders": [{"uri": uri, "name": "workspace"}],
            "capabilities": capabilities,
            "initializationOptions": options,
        }
        result: Message = await self.request("initialize", params)
        self.notify("initialized", {})
        return result

    async def request(self, method: str, params: object, *, timeout_s: float | None = None) -> Any:
        """The server's result, None when it answers with an error. Raises ServerGone at the time limit or when it is dead."""
        if self._gone:
            raise ServerGone(self._gone)
        number = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        try:
            self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await future
        except TimeoutError as exc:
            raise ServerGone(
                f"{self._argv[0]} did not answer {method} within {timeout_s or self._timeout_s:.0f} s"
            ) from exc
        finally:
            self._pending.pop(number, None)

    def notify(self, method: str, params: object) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def _send(self, message: Message) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdin.is_closing():
            return
        body = msgspec.json.encode(message)
        process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while True:
                self._receive(await _read_message(process.stdout))
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError, ValueError) as exc:
            last = self._stderr.decode(errors="replace").strip().rpartition("\n")[2]
            self._end(f"{self._argv[0]} ended unexpectedly: {last or type(exc).__name__}")

    def _end(self, why: str) -> None:
        self._gone = self._gone or why
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ServerGone(self._gone))

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while chunk := await process.stderr.read(_READ_LIMIT):
            self._stderr = (self._stderr + chunk)[-_STDERR_KEPT:]

    def _receive(self, message: Message) -> None:
        method = message.get("method")
        if method is None:
            future = self._pending.get(message.get("id", -1))
            if future is not None and not future.done():
                future.set_result(message.get("result"))
            return
        if "id" in message:
            result = self._answer(method, message.get("params") or {})
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": result})
        elif self._notified is not None:
            self._notified(method, message.get("params") or {})

    def _answer(self, method: str, params: Message) -> object:
        if method == "workspace/configuration":
            return [self._settings(str(item.get("section", ""))) for item in params.get("items", [])]
        return None

    async def aclose(self) -> None:
        """Ends the server and everything it started. Safe to call twice and in any state."""
        process, self._process = self._process, None
        if process is None:
            return
        self._end("the language server was closed")
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._until_closed(process)
        except TimeoutError:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _until_closed(self, process: asyncio.subprocess.Process) -> None:
        """Reads every pipe to its end: only then does the event loop let go of it."""
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.gather(*self._tasks)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                await stream.read()
        await process.wait()


async def _read_message(stream: asyncio.StreamReader) -> Message:
    size = 0
    while (line := await stream.readuntil(b"\r\n")) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            size = int(value)
    return msgspec.json.decode(await stream.readexactly(size), type=dict[str, Any])
