"""Two ledgers over loopback HTTP: an endpoint around one, and the receiver that the other one sees. What proves syncing before fleets do.

GET  /heads              every origin with its head
POST /origins/<origin>   sealed events as JSON lines; the answer is where the chain stands, durably
errors                   problem details (RFC 9457); a gap carries `next_seq`
"""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from cavalcade.kernel.errors import Busy, CavalcadeError, LedgerError, LedgerUnwritable, ServerGone, UsageError
from cavalcade.kernel.ids import OriginId
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.protocol.envelope import Sealed
from cavalcade.protocol.problem import MEDIA_TYPE, error_of, problem_document

MAX_BODY_BYTES = 16 << 20
_JSON = "application/json"
_LINES = "application/x-ndjson"
_T = TypeVar("_T")
_Heads = dict[OriginId, OriginHead]


def _no_fault(_step: str) -> None:
    """Where tests put a crash, nothing happens otherwise."""


class SyncServer:
    """Serves `ledger` on 127.0.0.1 until it is left: `with SyncServer(ledger, asyncio.get_running_loop()) as server`.

    The ledger is used on `loop`, which has to run meanwhile. `port` 0 takes a free one.
    """

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop, *, port: int = 0) -> None:
        self._ledger = ledger
        self._loop = loop
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, name="sync-server", daemon=True)

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    def __enter__(self) -> SyncServer:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def heads(self) -> _Heads:
        return dict(self._wait(_heads(self._ledger)))

    def ingest(self, origin: OriginId, body: bytes) -> OriginHead:
        try:
            events = msgspec.json.Decoder(Sealed).decode_lines(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise UsageError(f"the events can't be read: {exc}", expected="one sealed event a line") from exc
        return self._wait(_ingest(self._ledger, origin, events))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(lambda: server.heads() if self.path == "/heads" else _no_such(self.path))

            def do_POST(self) -> None:
                self._answer(self._ingest)

            def _ingest(self) -> OriginHead:
                kind, _, origin = self.path.removeprefix("/").partition("/")
                size = int(self.headers.get("Content-Length") or 0)
                if kind != "origins" or not origin:
                    return _no_such(self.path)
                if size > MAX_BODY_BYTES:
                    raise UsageError(f"{size} bytes at once", expected=f"at most {MAX_BODY_BYTES}")
                return server.ingest(OriginId(origin), self.rfile.read(size))

            def _answer(self, work: Callable[[], object]) -> None:
                try:
                    status, kind, answer = 200, _JSON, work()
                except CavalcadeError as error:
                    status, kind, answer = status_of(error), MEDIA_TYPE, problem_document(error)
                data = msgspec.json.encode(answer)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                """Silent: what tests print is theirs."""

        return Handler


async def _heads(ledger: Ledger) -> Mapping[OriginId, OriginHead]:
    return await ledger.heads()


async def _ingest(ledger: Ledger, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
    return await ledger.ingest(origin, events)


def _no_such(path: str) -> Any:
    raise UsageError(f"there is nothing at {path}", expected="/heads or /origins/<origin>")


def status_of(error: CavalcadeError) -> int:
    """A client may ask again after 503 and 507; nothing else changes by itself."""
    match error:
        case UsageError():
            return 400
        case LedgerUnwritable():
            return 507
        case Busy():
            return 503
        case LedgerError():
            return 409
        case _:
            return 500


class HttpReceiver:
    """Conforms to `ledger.outbox.Receiver`. Raises ServerGone when nobody answers: whether the request arrived is then unknown.

    `fault_point` is called with `sent` between a request and its answer.
    """

    def __init__(self, port: int, *, timeout_s: float = 30.0, fault_point: Callable[[str], None] = _no_fault) -> None:
        self._port = port
        self._timeout_s = timeout_s
        self._fault_point = fault_point

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        return _decoded(await asyncio.to_thread(self._ask, "GET", "/heads", b""), _Heads)

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        body = msgspec.json.Encoder().encode_lines(events)
        return _decoded(await asyncio.to_thread(self._ask, "POST", f"/origins/{origin}", body), OriginHead)

    def _ask(self, method: str, path: str, body: bytes) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout_s)
        try:
            connection.request(method, path, body, {"Content-Type": _LINES})
            if body:
                self._fault_point("sent")
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise ServerGone(
                f"port {self._port} did not answer: {type(exc).__name__}: {exc}",
                hint="ask again: what arrived before is not taken in twice",
            ) from exc
        finally:
            connection.close()
        if answer.status != 200:
            raise _refusal(data)
        return data


def _refusal(data: bytes) -> CavalcadeError:
    try:
        return error_of(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return LedgerError(f"the other side refused in words that can't be read: {data[:80]!r} ({exc})")


def _decoded(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise LedgerError(f"the answer can't be read: {data[:80]!r} ({exc})") from exc
