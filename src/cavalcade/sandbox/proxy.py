"""The only way out of a sandbox that has one: an HTTP proxy outside it, on a Unix socket, that reaches the hosts of an allow-list.

`CONNECT host:port` opens a tunnel, into which is not looked: a host that serves several names can be asked in it for any of them.
`GET http://host/...` is passed on, one request for each connection. A host that is not allowed is answered 403 and counted, what is no
plain request 400: nothing is guessed, since what two readers read differently is how requests are smuggled (RFC 9112, section 11).

Names are looked up outside, only when they are allowed, once for each connection, and the address that was judged is the one that is
reached. An address that is not public is reached only when it stands in the list itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cavalcade.sandbox.addresses import Host, allow_list, is_public, read_address, read_host
from cavalcade.sandbox.port import Refused

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a name, best first. Raises OSError."""

_HEAD_BYTES = 32 << 10
_HEAD_S = 30.0
_CONNECT_S = 30.0
_CHUNK = 64 << 10
_MOST_CONNECTIONS = 128
_MOST_REFUSED = 1000
"""Different hosts that are told apart; what comes after them is counted under no name."""
_REQUEST = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,8000}) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_HOP = {
    b"connection",
    b"proxy-connection",
    b"proxy-authorization",
    b"proxy-authenticate",
    b"keep-alive",
    b"te",
    b"trailer",
    b"upgrade",
    b"host",
}
_ONCE = (b"host", b"content-length")


class _Answer(Exception):
    """Ends a request with a status. `host` is recorded as refused when there is one."""

    def __init__(self, status: int, reason: str, host: Host | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.host = status, reason, host


async def look_up(name: str, port: int) -> Sequence[str]:
    """As the system does."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, proto=6)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Proxy:
    """For one command. `refused` tells what it asked for in vain."""

    def __init__(self, allowed: tuple[str, ...], resolve: Resolver = look_up) -> None:
        """Raises UsageError for an entry that is no `host:port`."""
        self._allowed = allow_list(allowed)
        self._resolve = resolve
        self._refused: Counter[Host] = Counter()
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def refused(self) -> tuple[Refused, ...]:
        return tuple(
            Refused(host=host.name, port=host.port, count=count) for host, count in sorted(self._refused.items())
        )

    async def open(self, socket: Path) -> None:
        """Raises OSError when no socket can be made there."""
        self._server = await asyncio.start_unix_server(self._accept, socket, limit=_HEAD_BYTES)

    async def aclose(self) -> None:
        """No connection lives after this."""
        if self._server:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            async with self._room:
                await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()  # the guest has gone, or its time is over
        finally:
            self._serving.discard(task)
            await _closed(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
            await self._carry_out(head[:-4], reader, writer)
        except (asyncio.IncompleteReadError, TimeoutError):
            return
        except asyncio.LimitOverrunError:
            await _answer(writer, _Answer(431, "the head is too long"))
        except _Answer as answer:
            if answer.host:
                self._count(answer.host)
            await _answer(writer, answer)

    def _count(self, host: Host) -> None:
        known = host in self._refused or len(self._refused) < _MOST_REFUSED
        self._refused[host if known else Host("", 0)] += 1

    async def _carry_out(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.split(b"\r\n")
        request = _REQUEST.fullmatch(first)
        if request is None:
            raise _Answer(400, "no plain request line", Host("", 0))
        method, target = request[1], request[2].decode("ascii")
        headers = _headers(lines)
        length: int | None = None
        if method == b"CONNECT":
            host = read_host(target)
            _agree(headers, host, 443)
            upstream, sink = await self._reach(target, host)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            host, path = _absolute(target)
            length = _body_length(headers)
            _agree(headers, host, 80)
            upstream, sink = await self._reach(target, host)
            assert host is not None
            sink.write(_rewritten(method, path, host, headers))
        try:
            await _both_ways(reader, writer, upstream, sink, length)
        finally:
            await _closed(sink)

    async def _reach(self, target: str, host: Host | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host is None:
            raise _Answer(403, "no plain host and port", Host(target[:253], 0))
        if host not in self._allowed:
            raise _Answer(403, f"{host.name}:{host.port} is not among the hosts that may be reached", host)
        try:
            async with asyncio.timeout(_CONNECT_S):
                found = [host.name] if host.address else await self._resolve(host.name, host.port)
                reachable = [address for address in found if self._may_reach(address, host.port)]
                if found and not reachable:
                    raise _Answer(403, f"{host.name} leads to an address that is not public", host)
                return await _connect(reachable, host.port)
        except (OSError, TimeoutError, UnicodeError) as exc:
            raise _Answer(502, f"{host.name}:{host.port} does not answer") from exc

    def _may_reach(self, text: str, port: int) -> bool:
        address = read_address(text)
        return address is not None and (is_public(address) or Host(str(address), port) in self._allowed)


def _headers(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Raises _Answer for folded lines, spaces before the colon, bare line ends, and what may stand there once."""
    found: list[tuple[bytes, bytes]] = []
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise _Answer(400, "no plain header", Host("", 0))
        found.append((header[1], header[2].strip(b" \t")))
    names = [name.lower() for name, _ in found]
    if any(names.count(name) > 1 for name in _ONCE):
        raise _Answer(400, "a header stands twice", Host("", 0))
    return found


def _value(headers: list[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name.lower() == wanted), None)


def _agree(headers: list[tuple[bytes, bytes]], host: Host | None, default_port: int) -> None:
    """The `Host` header, where there is one, must name the same host."""
    named = _value(headers, b"host")
    if named is None or host is None:
        return
    also = read_host(named.decode("ascii", "replace"), default_port)
    if also is None or also.name != host.name or (b":" in named and also.port != host.port):
        raise _Answer(400, "the request names two hosts", host)


def _absolute(target: str) -> tuple[Host | None, str]:
    scheme, found, rest = target.partition("://")
    if not found or scheme.lower() != "http":
        raise _Answer(403, "only http:// is passed on; use CONNECT for others", Host(target[:253], 0))
    cut = min((at for at in map(rest.find, "/?#\\") if at >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    if path and path[0] not in "/?":
        raise _Answer(400, "no plain address", Host(target[:253], 0))
    return read_host(authority, 80), path if path.startswith("/") else f"/{path}"


def _body_length(headers: list[tuple[bytes, bytes]]) -> int:
    if _value(headers, b"transfer-encoding") is not None:
        raise _Answer(411, "say the length of the body: Content-Length")
    given = _value(headers, b"content-length") or b"0"
    if not re.fullmatch(rb"[0-9]{1,15}", given):
        raise _Answer(400, "no plain Content-Length", Host("", 0))
    return int(given)


def _rewritten(method: bytes, path: str, host: Host, headers: list[tuple[bytes, bytes]]) -> bytes:
    named = {name.strip().lower() for name in (_value(headers, b"connection") or b"").split(b",")}
    authority = f"[{host.name}]" if ":" in host.name else host.name
    port = "" if host.port == 80 else f":{host.port}"
    kept = [name + b": " + value for name, value in headers if name.lower() not in _HOP | (named - {b"content-length"})]
    first = [
        method + b" " + path.encode("ascii") + b" HTTP/1.1",
        f"Host: {authority}{port}".encode(),
        b"Connection: close",
    ]
    return b"\r\n".join([*first, *kept]) + b"\r\n\r\n"


async def _connect(addresses: Sequence[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    failed: OSError | None = None
    for address in addresses:
        try:
            return await asyncio.open_connection(address, port)
        except OSError as exc:
            failed = exc
    raise failed or OSError("no address")


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    upstream: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    length: int | None,
) -> None:
    """Until the host has said all it had to say. Of what the guest says `length` bytes are passed on, all of it for None."""
    up = asyncio.create_task(_pump(reader, sink, length))
    try:
        await _pump(upstream, writer)
    finally:
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, length: int | None = None) -> None:
    left = length
    while left != 0 and (data := await source.read(_CHUNK if left is None else min(left, _CHUNK))):
        left = None if left is None else left - len(data)
        sink.write(data)
        await sink.drain()
    if length is None and sink.can_write_eof():
        with contextlib.suppress(OSError):
            sink.write_eof()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _answer(writer: asyncio.StreamWriter, answer: _Answer) -> None:
    text = f"{answer.reason}\n".encode("ascii", "replace")
    head = (
        f"HTTP/1.1 {answer.status} {'Forbidden' if answer.status == 403 else 'Refused'}\r\nContent-Type: text/plain\r\n"
    )
    writer.write(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
    await writer.drain()
