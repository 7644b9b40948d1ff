"""A file that is damaged, cut off, foreign or made up is refused whole, and what is wrong with it is named.

Bug classes this catches: half of a file let in, a hole in a chain or a missing object found out only later, a name that leads elsewhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from projects import Project, a_project, state_of

Parts = dict[str, bytes]
Change = Callable[[Parts], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """An installation with a run, and its export."""
    folder = tmp_path_factory.mktemp("made")
    shop = a_project(folder)
    assert shop.run("--yes").status == 0
    assert shop("ledger", "export", str(folder / "x")).status == 0
    return shop, folder / "x"


@pytest.fixture
def empty(made: tuple[Project, Path], tmp_path: Path) -> Project:
    """An installation that knows nothing yet, but has its own record."""
    there = replace(made[0], home=tmp_path / "home")
    assert there("runs", "--all").status == 0
    return there


def refused(there: Project, file: Path) -> dict[str, Any]:
    """The problem; nothing of the file is there afterwards, and no scrap of it in the cache."""
    said = there("ledger", "import", str(file), "--json")
    assert said.status == 6, said
    assert there("runs", "--all", "--json").data == []
    left = [name for name in state_of(there.home) if name.startswith(("projects", "cache/imports/import-"))]
    assert left == []
    return said.data


def changed(file: Path, into: Path, change: Change, *, digests: bool) -> Path:
    """The file with other parts; with `digests` the manifest fits them, as somebody would see to who makes one up."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    if digests:
        manifest = json.loads(parts["manifest.json"])
        manifest["members"] = [
            {"name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in parts.items()
            if name != "manifest.json"
        ]
        parts["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(into, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return into


def lines_of(parts: Parts) -> list[bytes]:
    return parts["events.jsonl"].splitlines(keepends=True)


def without_event(number: int) -> Change:
    def change(parts: Parts) -> None:
        lines = lines_of(parts)
        del lines[number]
        parts["events.jsonl"] = b"".join(lines)

    return change


def swapped(parts: Parts) -> None:
    lines = lines_of(parts)
    lines[3], lines[4] = lines[4], lines[3]
    parts["events.jsonl"] = b"".join(lines)


def doubled(parts: Parts) -> None:
    lines = lines_of(parts)
    parts["events.jsonl"] = b"".join([*lines, lines[-1]])


def reworded(parts: Parts) -> None:
    parts["events.jsonl"] = parts["events.jsonl"].replace(b"sum_prices", b"sum_prizes", 1)


def resigned(parts: Parts) -> None:
    """The last digit of every signature is another one, and the chain is computed anew from there."""
    lines: list[bytes] = []
    previous = "0" * 64
    for line in lines_of(parts):
        sealed = json.loads(line)
        body: str = sealed["body"]
        if "head.signed" in body:
            at = body.index('"signature":"') + len('"signature":"')
            body = body[:at] + ("0" if body[at] != "0" else "1") + body[at + 1 :]
        previous = hashlib.sha256((previous + body).encode()).hexdigest()
        lines.append(json.dumps({"hash": previous, "body": body}).encode() + b"\n")
    parts["events.jsonl"] = b"".join(lines)


def not_json(parts: Parts) -> None:
    parts["events.jsonl"] = b"\xff\n" + parts["events.jsonl"]


def endless(parts: Parts) -> None:
    parts["events.jsonl"] += b'{"hash":"' + b"0" * (1 << 20)


def pack_of(parts: Parts, end: str = ".pack") -> str:
    (name,) = (name for name in parts if name.endswith(end))
    return name


def garbled_pack(parts: Parts) -> None:
    """A byte in the middle of the first object's content."""
    data = bytearray(parts[pack_of(parts)])
    data[len(data) // 2] ^= 0x55
    parts[pack_of(parts)] = bytes(data)


def no_pack(parts: Parts) -> None:
    del parts[pack_of(parts)]


def no_index(parts: Parts) -> None:
    parts[pack_of(parts, ".idx")] = b"\xfftOc" + bytes(2000)


def manifest_with(**fields: object) -> Change:
    def change(parts: Parts) -> None:
        parts["manifest.json"] = json.dumps(json.loads(parts["manifest.json"]) | fields).encode()

    return change


def no_members(parts: Parts) -> None:
    manifest_with(members=[])(parts)


def leading_elsewhere(parts: Parts) -> None:
    manifest = json.loads(parts["manifest.json"])
    manifest["projects"][0]["project"] = "../../../tmp/elsewhere"
    parts["manifest.json"] = json.dumps(manifest).encode()


def shorter_chain(parts: Parts) -> None:
    manifest = json.loads(parts["manifest.json"])
    manifest["chains"][0]["seq"] -= 1
    parts["manifest.json"] = json.dumps(manifest).encode()


LEFT_AS_IT_IS = {"no_members"}
"""The changes that are made to the manifest's own digests."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_event(0), "can't follow event 0"),
        (without_event(5), "can't follow event 5"),
        (without_event(-1), "not those that the manifest tells of"),
        (swapped, "can't follow event 3"),
        (doubled, "not those that the manifest tells of"),
        (reworded, "hash doesn't follow"),
        (resigned, "sign"),
        (not_json, "line 1 of events.jsonl is no event"),
        (endless, "of events.jsonl is no event"),
        (garbled_pack, "of the pack"),
        (no_pack, "doesn't name"),
        (no_index, "the pack and its index"),
        (manifest_with(format=2), "knows up to 1"),
        (manifest_with(chains=[]), "not those that the manifest tells of"),
        (manifest_with(projects=[]), "tell of other projects"),
        (no_members, "doesn't name events.jsonl"),
        (manifest_with(time="yesterday"), "can't be read"),
        (leading_elsewhere, "names the projects"),
        (shorter_chain, "not those that the manifest tells of"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_made_up_file_is_refused_however_well_its_digests_fit(
    made: tuple[Project, Path], empty: Project, tmp_path: Path, change: Change, said: str
) -> None:
    file = changed(made[1], tmp_path / "made-up", change, digests=change.__name__ not in LEFT_AS_IT_IS)
    problem = refused(empty, file)
    assert problem["code"] == "export-damaged"
    assert str(file) in problem["detail"]
    assert re.search(said, problem["detail"]), problem["detail"]


@pytest.mark.parametrize("part", ["events.jsonl", "objects.pack", "objects.idx"])
def test_a_changed_part_is_named(made: tuple[Project, Path], empty: Project, tmp_path: Path, part: str) -> None:
    def flip(parts: Parts) -> None:
        (name,) = (name for name in parts if name.endswith(part))
        parts[name] = parts[name][:-20] + bytes([parts[name][-20] ^ 1]) + parts[name][-19:]

    assert part in refused(empty, changed(made[1], tmp_path / "y", flip, digests=False))["detail"]


def test_a_file_cut_off_anywhere_is_refused(made: tuple[Project, Path], empty: Project, tmp_path: Path) -> None:
    whole = made[1].read_bytes()
    for length in [*range(4, len(whole), len(whole) // 12), len(whole) - 1]:
        (tmp_path / "cut").write_bytes(whole[:length])
        assert "cut off" in refused(empty, tmp_path / "cut")["detail"], length


def test_a_single_flipped_bit_anywhere_changes_what_is_taken_over_by_nothing(
    made: tuple[Project, Path], empty: Project, tmp_path: Path
) -> None:
    """It is refused, or it hit something that says nothing, such as a date in the archive's directory."""
    whole = made[1].read_bytes()
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - replays a failure
    chance = random.Random(seed)
    for _ in range(20):
        at = chance.randrange(len(whole))
        (tmp_path / "flipped").write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        there = replace(empty, home=tmp_path / f"home-{at}")
        said = there("ledger", "import", str(tmp_path / "flipped"))
        runs = there("runs", "--all", "--json").data
        assert (said.status, len(runs)) in ((0, 1), (6, 0)), (at, said)
        if said.status == 0:
            assert there("diff", "last").out == made[0]("diff", "last").out


@pytest.mark.parametrize("data", [b"", b"PK", b"hello", b"SQLite format 3\0" * 9])
def test_what_is_no_export_is_called_so(empty: Project, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "y").write_bytes(data)
    problem = refused(empty, tmp_path / "y")
    assert ("no export" in problem["detail"], "ledger export" in problem["expected"]) == (True, True)


def test_another_archive_is_no_export_and_an_absent_file_is_absent(empty: Project, tmp_path: Path) -> None:
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("hello", "world")
    (tmp_path / "y").write_bytes(other.getvalue())
    assert "manifest.json is missing" in refused(empty, tmp_path / "y")["detail"]
    assert "No such file" in refused(empty, tmp_path / "z")["detail"]
