"""The language server client and the two resolvers. Bug class: a hang, an orphan, a file the resolver does not see or should not write."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import cast

import pytest

from cavalcade.kernel.errors import ServerGone
from cavalcade.protocol.plan import RecipeCall
from cavalcade.recipes.rename import Rename
from cavalcade.terrain.lsp import LanguageServer
from cavalcade.terrain.resolvers import Pyrefly, Resolver, Spot, Ty
from cavalcade.terrain.source import SourceText
from cavalcade.terrain.terrain import Terrain
from cavalcade.testing.plans import attempt, workspace
from cavalcade.testing.trees import MemoryTree

SERVER = r"""
import json, subprocess, sys

def read():
    size = 0
    while (line := sys.stdin.buffer.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        size = int(value) if name.lower() == b"content-length" else size
    return json.loads(sys.stdin.buffer.read(size)) if size else sys.exit()

def write(message):
    data = json.dumps(message).encode()
    sys.stdout.buffer.write(b"Content-Type: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    sys.stdout.buffer.flush()

sys.stderr.write("noise\n" * 50_000)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=-3, stderr=-3)
asked = None
while True:
    message = read()
    match message.get("method"):
        case "initialize":
            write({"jsonrpc": "2.0", "id": message["id"], "result": {"child": child.pid}})
        case "settings":
            asked = message["id"]
            items = [{"section": "one"}, {"section": "two"}]
            write({"jsonrpc": "2.0", "id": "s1", "method": "workspace/configuration", "params": {"items": items}})
        case "fail":
            write({"jsonrpc": "2.0", "id": message["id"], "error": {"code": 1, "message": "no"}})
        case "die":
            sys.stderr.write("last words\n")
            sys.exit(3)
        case None if message.get("id") == "s1":
            write({"jsonrpc": "2.0", "id": asked, "result": message["result"]})
        case "later" | "ignored" | "initialized":
            pass
        case method:
            write({"jsonrpc": "2.0", "id": message["id"], "result": method})
"""


def server(folder: Path) -> LanguageServer:
    return LanguageServer(
        [sys.executable, "-c", SERVER], folder, environ=dict(os.environ), settings=lambda section: section.upper()
    )


def running(pid: int) -> bool:
    """The process is there and no zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_requests_overlap_and_the_servers_own_are_answered(tmp_path: Path) -> None:
    client = server(tmp_path)
    await client.start({}, capabilities={})
    answers = await asyncio.gather(
        client.request("a", {}), client.request("settings", {}), client.request("b", {}), client.request("fail", {})
    )
    assert answers == ["a", ["ONE", "TWO"], "b", None]
    await client.aclose()


async def test_a_silent_server_and_a_dead_one_raise_with_a_reason(tmp_path: Path) -> None:
    client = server(tmp_path)
    await client.start({}, capabilities={})
    with pytest.raises(ServerGone, match="did not answer ignored"):
        await client.request("ignored", {}, timeout_s=0.01)
    with pytest.raises(ServerGone, match="ended unexpectedly"):
        await client.request("die", {})
    with pytest.raises(ServerGone):
        await client.request("a", {})
    await client.aclose()


async def test_closing_kills_everything_the_server_started(tmp_path: Path) -> None:
    client = server(tmp_path)
    child = cast("int", (await client.start({}, capabilities={}))["child"])
    await client.aclose()
    await client.aclose()
    for _ in range(10_000):
        if not running(child):
            break
        await asyncio.sleep(0)
    assert not running(child)


async def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    client = LanguageServer([str(tmp_path / "absent")], tmp_path, environ={}, settings=str)
    with pytest.raises(ServerGone, match="absent"):
        await client.start({}, capabilities={})
    await client.aclose()


FILES = {
    "src/pkg/__init__.py": "",
    "src/pkg/m.py": "class A:\n    def go(self): ...\n\ndef make() -> A: ...\n",
    "tests/test_m.py": "from pkg.m import make\n\nx = '🐍'; make().go()\n",
    ".gitignore": "tests/\n",
}


@pytest.mark.parametrize("kind", [Ty, Pyrefly])
async def test_a_resolver_sees_tests_and_ignored_files_also_in_a_hidden_folder_and_writes_nothing(
    kind: type[Resolver], tmp_path: Path
) -> None:
    folder = tmp_path / ".local" / "share" / "work"
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    def text_of(path: str) -> SourceText | None:
        return SourceText.of((folder / path).read_bytes()) if (folder / path).is_file() else None

    resolver = kind(folder, text_of, environ=dict(os.environ), roots=lambda: ("src", ""))
    source = SourceText.of(FILES["tests/test_m.py"].encode())
    definition = Spot("src/pkg/m.py", FILES["src/pkg/m.py"].index("go"))
    assert await resolver.definitions("tests/test_m.py", source.body.index(b"go()")) == (definition,)
    if kind is Ty:
        found = await resolver.references(*definition)
        assert Spot("tests/test_m.py", source.body.index(b"go()")) in found
    await resolver.aclose()
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(FILES)


async def test_a_base_outside_the_tree_can_be_probed_without_touching_the_file() -> None:
    source = "import threading\nclass A(threading.Thread): ...\n"
    with workspace({"m.py": source}) as (raw, folder):
        resolver = Ty(folder, lambda path: SourceText.of(raw[path]), environ=dict(os.environ))
        assert await resolver.probe("m.py", "threading.Thread", "run")
        assert await resolver.probe("m.py", "threading.Thread", "walk") == ()
        assert await resolver.probe("m.py", "nothing.Such", "run") is None
        assert (folder / "m.py").read_text() == source
        await resolver.aclose()


class Broken(Ty):
    def _argv(self) -> tuple[str, ...]:
        return (sys.executable, "-c", "raise SystemExit(1)")


async def test_without_its_resolvers_a_rename_goes_on_and_says_so() -> None:
    files = {"m.py": "class A:\n    def old(self): ...\n\ndef f(a: A):\n    a.old()\nA().old()\n"}
    tree = MemoryTree()
    with workspace(files) as (raw, folder):
        async with Terrain.open(tree, tree.tree(raw), workspace=folder, cache=None) as terrain:
            terrain.ty = Broken(folder, terrain.files.text, environ={})
            terrain.pyrefly = Broken(folder, terrain.files.text, environ={})
            outcome = await Rename().plan(
                RecipeCall(name="rename", arguments={"symbol": "m:A.old", "to": "new"}), terrain
            )
    assert [str(place) for place in outcome.unresolved] == ["m.py:5"]
    assert outcome.edits[0].after == raw["m.py"].replace(b"def old", b"def new").replace(b"A().old", b"A().new")
    assert outcome.decisions[-1].choice == "went on without it"


async def test_a_type_only_a_resolver_knows_is_followed() -> None:
    source = (
        "class A:\n    def old(self): ...\n\ndef make() -> A: ...\nitems = [make() for _ in range(2)]\n"
        "for item in items:\n    item.old()\n"
    )
    tried = await attempt("rename m:A.old to new", {"m.py": source})
    assert tried.text("m.py") == source.replace("old", "new")
    assert tried.outcome.unresolved == ()
