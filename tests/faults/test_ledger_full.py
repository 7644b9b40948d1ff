"""Bug class this catches: half a batch on a full disk, an acknowledged event lost to it, a ledger that stays broken once there is room.

Four ways to run out: a limit of SQLite's own, a limit on file sizes, a full file system where one may be mounted, and no right to write.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cavalcade.kernel.errors import LedgerUnwritable
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Draft
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

pytestmark = pytest.mark.faults

CHILD = Path(__file__).with_name("ledger_child.py")
CAP_SYS_ADMIN = 1 << 21
A = StreamId("run/a")


def opened(path: Path, size_limit_bytes: int | None = None) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(9), size_limit_bytes=size_limit_bytes)


def run_child(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


async def fill(ledger: SqliteLedger, drafts: Drafts) -> tuple[list[Draft], list[Draft]]:
    """Appends pairs until one is refused: what was acknowledged, and the pair that was not."""
    acknowledged: list[Draft] = []
    while True:
        pair = [drafts.one("x" * 3000), drafts.one("y" * 6000)]
        try:
            await ledger.append(A, pair)
        except LedgerUnwritable:
            return acknowledged, pair
        acknowledged += pair


async def check_holds(ledger: SqliteLedger, expected: list[Draft]) -> None:
    assert [event.event for event in await ledger.read()] == expected
    found = await ledger.verify()
    assert found.bad_position is None, found.problem


@pytest.fixture
def drafts() -> Drafts:
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(5))


async def test_a_ledger_at_its_limit_refuses_and_keeps_what_it_has(tmp_path: Path, drafts: Drafts) -> None:
    path = tmp_path / "ledger.db"
    ledger = opened(path, size_limit_bytes=300_000)
    acknowledged, refused = await fill(ledger, drafts)
    await check_holds(ledger, acknowledged)
    with pytest.raises(LedgerUnwritable, match=r"full\nhint: make room"):
        await ledger.append(A, refused, expected_version=len(acknowledged))
    await ledger.aclose()
    roomier = opened(path)
    await roomier.append(A, refused, expected_version=len(acknowledged))
    await check_holds(roomier, acknowledged + refused)
    await roomier.aclose()


async def test_files_that_may_not_grow_fail_the_append_and_the_same_ledger_goes_on_later(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    done = run_child("outgrow", path, 300_000)
    acknowledged = done.stdout.split()
    assert len(acknowledged) > 5
    assert "can't be used" in done.stderr
    assert "make room" in done.stderr
    ledger = opened(path)
    assert [event.event.id for event in await ledger.read()] == acknowledged
    assert (await ledger.verify()).bad_position is None
    await ledger.aclose()


@contextmanager
def small_disk(folder: Path) -> Generator[Path]:
    """A file system of 1 MiB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def may_mount() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff"))
    return os.geteuid() == 0 and bool(effective & CAP_SYS_ADMIN)


async def fill_and_make_room(folder: Path, drafts: Drafts) -> None:
    filler = folder / "filler"
    filler.write_bytes(bytes(400_000))
    ledger = opened(folder / "ledger.db")
    acknowledged, refused = await fill(ledger, drafts)
    await check_holds(ledger, acknowledged)
    filler.unlink()
    await ledger.append(A, refused, expected_version=len(acknowledged))
    await check_holds(ledger, acknowledged + refused)
    await ledger.aclose()


if may_mount():

    async def test_a_full_disk_fails_the_append_and_the_same_ledger_goes_on_later(
        tmp_path: Path, drafts: Drafts
    ) -> None:
        with small_disk(tmp_path / "disk") as folder:
            await fill_and_make_room(folder, drafts)

    async def test_no_room_to_begin_with_is_said_when_it_is_opened(tmp_path: Path) -> None:
        with small_disk(tmp_path / "disk") as folder:
            (folder / "filler").write_bytes(bytes((1 << 20) - 8192))
            with pytest.raises(LedgerUnwritable, match="make room"):
                opened(folder / "ledger.db")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def set_modes(folder: Path, *, folder_mode: int, file_mode: int) -> None:
    for file in folder.iterdir():
        file.chmod(file_mode)
    folder.chmod(folder_mode)


@pytest.mark.parametrize("what", ["a folder without a ledger", "a folder with one", "a file"])
async def test_what_may_not_be_written_is_refused_when_it_is_opened(what: str, drafts: Drafts) -> None:
    # Not below pytest's folder: nobody else may enter that, and the child is nobody when this is root.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        path = folder / "ledger.db"
        if what != "a folder without a ledger":
            ledger = opened(path)
            await ledger.append(A, drafts.many(2))
            await ledger.aclose()
        before = contents(folder)
        set_modes(folder, folder_mode=0o777 if what == "a file" else 0o555, file_mode=0o444)
        done = run_child("read-only", path)
        set_modes(folder, folder_mode=0o755, file_mode=0o644)
        assert "can't be used" in done.stdout
        assert "make the file and its folder writable" in done.stdout
        assert {name: data for name, data in contents(folder).items() if name in before} == before


async def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnwritable):
        opened(tmp_path / "nowhere" / "ledger.db")
