"""The way out of a sandbox, attacked from inside over loopback servers and a resolver that is told what names mean.

Bug class this catches: a host that is reached though it is not allowed, by another way to write it or by two readings of one request.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sandbox_kit import HOME, LIMITS, PYTHON, opened, python_command

from cavalcade.kernel.errors import UsageError
from cavalcade.sandbox.addresses import Host, allow_list, is_public, read_address, read_host
from cavalcade.sandbox.networked import Networked
from cavalcade.sandbox.port import Result, Sandbox
from cavalcade.sandbox.proxy import Proxy


@dataclass
class Site:
    """An HTTP server that keeps what it was sent and answers with its name."""

    name: str
    heard: list[bytes] = field(default_factory=list[bytes])
    port: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        self.heard.append(head + await reader.readexactly(length))
        text = f"this is {self.name}\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(text), text))
        await writer.drain()
        writer.write_eof()
        self.heard[-1] += await reader.read()
        writer.close()


@asynccontextmanager
async def serving(site: Site) -> AsyncGenerator[Site]:
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()


@dataclass
class Names:
    """A resolver: every name it doesn't know leads nowhere. Keeps what was asked."""

    known: dict[str, list[str]]
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, name: str, port: int) -> Sequence[str]:
        self.asked.append(name)
        if name not in self.known:
            raise OSError("no such name")
        return self.known[name]


@pytest.fixture
async def bare(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await opened(tmp_path_factory.getbasetemp() / "sandbox-verdict")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(Site("allowed")) as server:
        yield server


@pytest.fixture
def names() -> Names:
    return Names({"good.example": ["127.0.0.1"], "inner.example": ["127.0.0.1"], "bad.example": ["127.0.0.1"]})


async def networked(bare: Sandbox, workspace: Path, site: Site, names: Names, code: str, *more: str) -> Result:
    """Allowed are good.example and the address of the server, without which no name leads to loopback."""
    sandbox = Networked(bare, PYTHON, HOME, names)
    network = (f"good.example:{site.port}", f"127.0.0.1:{site.port}", *more)
    return await sandbox.run(python_command(workspace, code, network=network), LIMITS)


GET = "import urllib.request\nprint(urllib.request.urlopen('http://{host}/path?q=1', timeout=10).read().decode())"
TUNNEL = (
    "import http.client, os\nproxy = os.environ['https_proxy'].removeprefix('http://')\nc = http.client.HTTPConnection(proxy, timeout=10)\n"
    "c.set_tunnel('{host}', {port})\nc.request('GET', '/inside')\nprint(c.getresponse().read().decode())"
)


@pytest.mark.parametrize("code", [GET, TUNNEL])
async def test_a_host_that_is_named_is_reached(
    code: str, bare: Sandbox, workspace: Path, site: Site, names: Names
) -> None:
    host = f"good.example:{site.port}" if code == GET else "good.example"
    result = await networked(bare, workspace, site, names, code.format(host=host, port=site.port))
    assert result.stdout.startswith(b"this is allowed"), result
    assert result.refused == ()


@pytest.mark.parametrize("code", [GET, TUNNEL])
async def test_another_host_is_refused_and_told_and_not_even_looked_up(
    code: str, bare: Sandbox, workspace: Path, site: Site, names: Names
) -> None:
    host = f"bad.example:{site.port}" if code == GET else "bad.example"
    twice = code.format(host=host, port=site.port).replace("\n", "\n    ").replace("import", "import", 1)
    result = await networked(
        bare, workspace, site, names, f"for _ in range(2):\n  try:\n    {twice}\n  except OSError as e: print(e)"
    )
    assert result.stdout.count(b"403") == 2, result
    assert [(refused.host, refused.port, refused.count) for refused in result.refused] == [
        ("bad.example", site.port, 2)
    ]
    assert names.asked == []
    assert site.heard == []


async def test_without_a_named_host_there_is_no_network_and_no_proxy(
    bare: Sandbox, workspace: Path, site: Site, names: Names
) -> None:
    code = f"import os, socket\nprint('HTTP_PROXY' in os.environ)\nsocket.create_connection(('127.0.0.1', {site.port}))"
    result = await Networked(bare, PYTHON, HOME, names).run(python_command(workspace, code), LIMITS)
    assert result.stdout == b"False\n"
    assert b"refused" in result.stderr.lower()


async def test_beside_the_proxy_nothing_is_reached(bare: Sandbox, workspace: Path, site: Site, names: Names) -> None:
    code = (
        f"import os, socket\nfor family, address in ((socket.AF_INET, ('127.0.0.1', {site.port})), (socket.AF_INET, ('192.0.2.1', 80)),"
        " (socket.AF_UNIX, '\\0x')):\n    s = socket.socket(family)\n    s.settimeout(5)\n    try: s.connect(address); print('reached')\n"
        "    except OSError: print('stopped')\ntry: print(socket.getaddrinfo('good.example', 80))\nexcept OSError: print('stopped')"
    )
    result = await networked(bare, workspace, site, names, code)
    assert result.stdout == b"stopped\n" * 4


async def test_exit_signal_and_input_are_the_command_s_own(
    bare: Sandbox, workspace: Path, site: Site, names: Names
) -> None:
    sandbox = Networked(bare, PYTHON, HOME, names)
    for body, expected in (("sys.exit(7)", (7, 0)), ("os.kill(os.getpid(), 11)", (None, 11))):
        command = python_command(
            workspace,
            f"import os, sys\nprint(sys.stdin.read(), flush=True)\n{body}",
            network=(f"127.0.0.1:{site.port}",),
            stdin=b"in",
        )
        result = await sandbox.run(command, LIMITS)
        assert (result.stdout, result.exit_code, result.signal) == (b"in\n", *expected)


async def test_nothing_is_left_of_the_proxy(
    bare: Sandbox, workspace: Path, site: Site, names: Names, tmp_path: Path
) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    code = (
        "import os, socket\\na = os.environ['http_proxy'].rpartition(':')[2]\\n"
        "kept = [socket.create_connection(('127.0.0.1', int(a))) for _ in range(5)]"
    )
    await networked(bare, workspace, site, names, code)
    assert sorted(os.listdir("/proc/self/fd")) == before


RAW: dict[str, tuple[str, int]] = {
    "another name": ("GET http://bad.example:{port}/ HTTP/1.1\r\nHost: bad.example:{port}\r\n\r\n", 403),
    "a tunnel to another": ("CONNECT bad.example:{port} HTTP/1.1\r\n\r\n", 403),
    "another port": ("CONNECT good.example:22 HTTP/1.1\r\n\r\n", 403),
    "no port": ("CONNECT good.example HTTP/1.1\r\n\r\n", 403),
    "a port of zero": ("CONNECT good.example:0 HTTP/1.1\r\n\r\n", 403),
    "a port that wraps": ("CONNECT good.example:{wrapped} HTTP/1.1\r\n\r\n", 403),
    "a user before the name": ("GET http://good.example:{port}@bad.example/ HTTP/1.1\r\n\r\n", 403),
    "a name within a path": ("GET http://bad.example/http://good.example:{port}/ HTTP/1.1\r\n\r\n", 403),
    "a backslash": ("GET http://bad.example\\@good.example:{port}/ HTTP/1.1\r\n\r\n", 400),
    "an escaped name": ("GET http://good%2eexample:{port}/ HTTP/1.1\r\n\r\n", 403),
    "a name below the one": ("GET http://x.good.example:{port}/ HTTP/1.1\r\n\r\n", 403),
    "a name that begins like it": ("GET http://good.example.bad.example:{port}/ HTTP/1.1\r\n\r\n", 403),
    "two dots at the end": ("GET http://good.example..:{port}/ HTTP/1.1\r\n\r\n", 403),
    "an unlisted loopback": ("CONNECT 127.0.0.2:{port} HTTP/1.1\r\n\r\n", 403),
    "loopback in short": ("CONNECT 127.1:{port} HTTP/1.1\r\n\r\n", 403),
    "loopback as one number": ("CONNECT 2130706433:{port} HTTP/1.1\r\n\r\n", 403),
    "loopback in hexadecimal": ("CONNECT 0x7f000001:{port} HTTP/1.1\r\n\r\n", 403),
    "loopback in octal": ("CONNECT 0177.0.0.1:{port} HTTP/1.1\r\n\r\n", 403),
    "every address": ("CONNECT 0.0.0.0:{port} HTTP/1.1\r\n\r\n", 403),
    "loopback in IPv6": ("CONNECT [::1]:{port} HTTP/1.1\r\n\r\n", 403),
    "loopback mapped into IPv6": ("CONNECT [::ffff:127.0.0.1]:{port} HTTP/1.1\r\n\r\n", 403),
    "IPv6 with a zone": ("CONNECT [::1%25lo]:{port} HTTP/1.1\r\n\r\n", 403),
    "IPv6 without brackets": ("CONNECT ::1:{port} HTTP/1.1\r\n\r\n", 403),
    "the machine's metadata": ("GET http://169.254.169.254/latest/ HTTP/1.1\r\n\r\n", 403),
    "a name that leads inside": ("CONNECT inner.example:1 HTTP/1.1\r\n\r\n", 403),
    "another scheme": ("GET ftp://good.example:{port}/ HTTP/1.1\r\n\r\n", 403),
    "a file": ("GET file:///etc/passwd HTTP/1.1\r\n\r\n", 403),
    "no host": ("GET / HTTP/1.1\r\nHost: good.example:{port}\r\n\r\n", 403),
    "two hosts": ("GET http://good.example:{port}/ HTTP/1.1\r\nHost: bad.example\r\n\r\n", 400),
    "a host twice": ("GET http://good.example:{port}/ HTTP/1.1\r\nHost: good.example:{port}\r\nhost: bad.example\r\n\r\n", 400),
    "a host behind a space": ("GET http://good.example:{port}/ HTTP/1.1\r\nHost : bad.example\r\n\r\n", 400),
    "a folded header": ("GET http://good.example:{port}/ HTTP/1.1\r\nX: a\r\n Host: bad.example\r\n\r\n", 400),
    "a bare end of line": ("GET http://good.example:{port}/ HTTP/1.1\nHost: bad.example\r\n\r\n", 400),
    "a bare end of line in a header": ("GET http://good.example:{port}/ HTTP/1.1\r\nX: a\nHost: bad.example\r\n\r\n", 400),
    "a bare return": ("GET http://good.example:{port}/ HTTP/1.1\r\nX: a\rHost: bad.example\r\n\r\n", 400),
    "two lengths": ("POST http://good.example:{port}/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a length with a sign": ("POST http://good.example:{port}/ HTTP/1.1\r\nContent-Length: +1\r\n\r\na", 400),
    "a length and pieces": ("POST http://good.example:{port}/ HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
    "two spaces": ("GET  http://good.example:{port}/ HTTP/1.1\r\n\r\n", 400),
    "an older protocol": ("GET http://good.example:{port}/\r\n\r\n", 400),
    "a newer protocol": ("PRI * HTTP/2.0\r\n\r\n", 400),
    "a name in other letters": ("GET http://gооd.example:{port}/ HTTP/1.1\r\n\r\n", 400),
    "wide letters": ("GET http://good。example:{port}/ HTTP/1.1\r\n\r\n", 400),
    "an endless head": ("GET http://good.example:{port}/ HTTP/1.1\r\nX: " + "x" * 40000 + "\r\n\r\n", 431),
}  # fmt: skip


@pytest.fixture
async def proxy(site: Site, names: Names, tmp_path: Path) -> AsyncIterator[tuple[Proxy, Path]]:
    """By itself, as the forwarder meets it."""
    proxy = Proxy((f"good.example:{site.port}", f"127.0.0.1:{site.port}", "inner.example:1"), names)
    await proxy.open(tmp_path / "s")
    yield proxy, tmp_path / "s"
    await proxy.aclose()


async def ask(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("name", RAW)
async def test_no_way_to_write_it_reaches_another_host(name: str, proxy: tuple[Proxy, Path], site: Site) -> None:
    text, status = RAW[name]
    request = text.replace("{port}", str(site.port)).replace("{wrapped}", str(site.port + 65536)).encode()
    answer = await ask(proxy[1], request)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert site.heard == []
    if status == 403:
        assert sum(refused.count for refused in proxy[0].refused()) == 1


SAME = ["good.example", "GOOD.Example", "good.example.", "127.0.0.1"]


@pytest.mark.parametrize("host", SAME)
async def test_other_plain_ways_to_write_an_allowed_host_are_the_same(
    host: str, proxy: tuple[Proxy, Path], site: Site
) -> None:
    answer = await ask(proxy[1], f"GET http://{host}:{site.port}/x HTTP/1.1\r\n\r\n".encode())
    assert answer.endswith(b"this is allowed\n")
    assert site.heard[0].startswith(b"GET /x HTTP/1.1\r\nHost: ")


async def test_what_follows_a_request_reaches_nobody(proxy: tuple[Proxy, Path], site: Site) -> None:
    first = f"POST http://good.example:{site.port}/ HTTP/1.1\r\nContent-Length: 3\r\nConnection: X-Own\r\nX-Own: 1\r\nX-Kept: 2\r\n\r\nabc"
    await ask(proxy[1], f"{first}GET /second HTTP/1.1\r\nHost: bad.example\r\n\r\n".encode())
    assert len(site.heard) == 1
    assert site.heard[0].endswith(b"\r\n\r\nabc")
    assert b"second" not in site.heard[0]
    assert b"X-Kept: 2" in site.heard[0]
    assert b"X-Own" not in site.heard[0]


async def test_a_name_whose_meaning_changes_is_reached_where_it_was_judged(site: Site, tmp_path: Path) -> None:
    """Rebinding: public when it is looked up to be judged, loopback when it is looked up to be reached. It is looked up once."""
    asked: list[str] = []

    async def changing(name: str, port: int) -> Sequence[str]:
        asked.append(name)
        return ["127.0.0.1"]

    proxy = Proxy((f"good.example:{site.port}",), changing)
    await proxy.open(tmp_path / "s")
    answer = await ask(tmp_path / "s", f"CONNECT good.example:{site.port} HTTP/1.1\r\n\r\n".encode())
    await proxy.aclose()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"not public" in answer
    assert (asked, site.heard) == (["good.example"], [])


async def test_refused_hosts_are_told_apart_up_to_a_number(tmp_path: Path) -> None:
    proxy = Proxy(("good.example:80",))
    await proxy.open(tmp_path / "s")
    for number in range(1005):
        await ask(tmp_path / "s", f"CONNECT h{number}.example:1 HTTP/1.1\r\n\r\n".encode())
    await proxy.aclose()
    assert len(proxy.refused()) == 1001
    assert proxy.refused()[0].count == 5
    assert json.dumps(proxy.refused()[0].host) == '""'


def test_names_in_other_alphabets_are_compared_in_punycode() -> None:
    assert allow_list(("Bücher.example:443",)) == {Host("xn--bcher-kva.example", 443)}
    assert read_host("XN--BCHER-KVA.example.:443") == Host("xn--bcher-kva.example", 443)
    assert read_host("[0:0::1]:8080") == Host("::1", 8080)


@pytest.mark.parametrize(
    "entry",
    [
        "example.org",
        "http://example.org:80",
        "*.org:443",
        "example.org:http",
        "127.1:80",
        ":80",
        "a b:1",
        "[1.2.3.4]:5",
    ],
)
def test_an_entry_that_is_no_host_and_port_is_refused(entry: str) -> None:
    with pytest.raises(UsageError, match="not a host"):
        allow_list((entry,))


PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.1.1",
    "224.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0::1",
    "fec0::1",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_that_is_not_of_the_open_internet_is_known(text: str) -> None:
    address = read_address(text)
    assert address is not None
    assert not is_public(address)


@pytest.mark.parametrize("text", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_an_address_of_the_open_internet_is_known(text: str) -> None:
    address = read_address(text)
    assert address is not None
    assert is_public(address)
