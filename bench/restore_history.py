"""Restoring the middle of histories of 100 to 100,000 edits on a tree of 7,000 files: by an event's number in the record, against
`git switch` over the same difference in the same store. And what an edit takes on the disk, against plain git.

The histories are made by `git fast-import`, edit by edit the objects that a run would make; the events by the ledger. In `restore` all
is counted that follows from the history: finding the event, finding its tree, going 20 edits back. Run alone:
`python -m bench.restore_history`.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.restore import WHEN, plain_git, source, timed
from bench.table import Row

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.kernel.ids import BlobId, CommitId, EventId, ProjectId, RunId, TaskId, TreeId, new_event_id, run_stream
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import EditApplied, EditProposed, Payload, RunRequested, encode
from cavalcade.protocol.plan import Base
from cavalcade.supervisor.history import Nth
from cavalcade.supervisor.locating import locate
from cavalcade.testing.clock import FakeClock, SeededEntropy

HISTORIES = (100, 1_000, 10_000, 100_000)
BACK = 20
"""Edits between the state that the folder holds and the middle, where it goes."""
ROUNDS = 9
STORED = 400
"""Edits made one by one for what they take on the disk."""
TARGET = 1.2
_SMALL_BYTES = 2_000
"""Edited are files up to this size, so that making the history is not what takes the time."""
_BATCH = 2_000
RUN, TASK, PROJECT = RunId("r1"), TaskId("t1"), ProjectId("p0000000000000000")


class _History(NamedTuple):
    edits: int
    folder: Path
    ledger: SqliteLedger
    middle: TreeId
    middle_commit: CommitId
    later: TreeId
    later_commit: CommitId
    number: int
    """Of the event that made the middle."""


def run() -> list[Row]:
    """Medians of rounds in turns; `ratio` is the median of the ratios of neighbouring measurements."""
    with tempfile.TemporaryDirectory(prefix="cavalcade-bench-") as name:
        folder = Path(name)
        source(folder / "repo")
        plain_git(folder / "repo")
        return [*asyncio.run(_restoring(folder)), *_storing(folder)]


async def _restoring(folder: Path) -> list[Row]:
    histories = [await _made(folder, edits) for edits in HISTORIES]
    ours: dict[int, list[float]] = {edits: [] for edits in HISTORIES}
    peer: dict[int, list[float]] = {edits: [] for edits in HISTORIES}
    for number in range(ROUNDS):
        for history in histories if number % 2 else reversed(histories):
            ours[history.edits].append(await _restored(history))
            peer[history.edits].append(_switched(history))
    for history in histories:
        await history.ledger.aclose()
    rows: list[Row] = []
    for edits in HISTORIES:
        ratio = statistics.median(a / b for a, b in zip(ours[edits], peer[edits], strict=True))
        figures = [f"{statistics.median(times[edits]) * 1e3:.1f} ms" for times in (ours, peer)]
        name = f"restore the middle of {edits:,} edits / git switch"
        rows.append(Row(name, figures[0], figures[1], ratio, f"<= {TARGET}", ratio <= TARGET))
    first, last = (statistics.median(ours[edits]) for edits in (HISTORIES[0], HISTORIES[-1]))
    name = f"the same, {HISTORIES[-1]:,} edits / {HISTORIES[0]:,} edits"
    flat = last / first
    rows.append(Row(name, f"{last * 1e3:.1f} ms", f"{first * 1e3:.1f} ms", flat, f"<= {TARGET}", flat <= TARGET))
    return rows


async def _restored(history: _History) -> float:
    """The store and what it caches are new each time, as they are in a command."""
    store, target = GitContentStore(history.folder / "content.git"), history.folder / "ours"
    os.sync()
    loop = asyncio.get_running_loop()
    start = loop.time()
    located = await locate(history.ledger, RUN, Nth(history.number))
    assert located is not None
    store.restore(located.view.tree, target, was=history.later)
    took = loop.time() - start
    assert located.view.tree == history.middle
    store.restore(history.later, target, was=history.middle)
    return took


def _switched(history: _History) -> float:
    peer = str(history.folder / "peer")

    def switch(to: CommitId) -> None:
        subprocess.run(["git", "-C", peer, "switch", "--quiet", "--detach", to], check=True, capture_output=True)

    took = timed(lambda: switch(history.middle_commit))
    switch(history.later_commit)
    return took


async def _made(folder: Path, edits: int) -> _History:
    own = folder / f"edits{edits}"
    own.mkdir()
    store = GitContentStore(own / "content.git")
    base = store.import_repository(folder / "repo")
    commits = _imported(store, own / "content.git", base, edits)
    middle, later = commits[edits // 2 - 1], commits[min(edits, edits // 2 + BACK) - 1]
    trees = store.tree_of(middle), store.tree_of(later)
    ledger = await SqliteLedger.open(own / "ledger.sqlite3", clock=FakeClock(), entropy=SeededEntropy(1))
    await _recorded(ledger, base, commits, {middle: trees[0]})
    store.restore(trees[1], own / "ours")
    _worktree(own / "content.git", own / "peer", later)
    return _History(edits, own, ledger, trees[0], middle, trees[1], later, 1 + edits // 2 * 2)


def _worktree(store: Path, folder: Path, commit: CommitId) -> None:
    command = ["git", "-C", str(store), "worktree", "add", "-q", "--detach", str(folder), commit]
    subprocess.run(command, check=True, capture_output=True)


def _edits(store: GitContentStore, base: Base, count: int) -> Iterator[tuple[str, int, bytes]]:
    """Path, mode and new content, each on top of the one before."""
    entries = store.entries(base.tree)
    contents = {path: store.read(entry.blob) for path, entry in entries.items() if path.endswith(".py")}
    small = sorted(path for path, data in contents.items() if len(data) <= _SMALL_BYTES)
    rng = random.Random(1)
    for number in range(count):
        path = rng.choice(small)
        contents[path] = contents[path].rpartition(b"# edit")[0] or contents[path]
        contents[path] += b"# edit %d\n" % number
        yield path, entries[path].mode, contents[path]


def _imported(store: GitContentStore, folder: Path, base: Base, count: int, *options: str) -> list[CommitId]:
    marks = folder.parent / "marks"
    command = ["git", *options, "fast-import", "--quiet", "--force", f"--export-marks={marks}"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for number, (path, mode, data) in enumerate(_edits(store, base, count), start=1):
            stamp = int(WHEN.timestamp()) + number
            parent = f":{number - 1}" if number > 1 else base.commit
            process.stdin.write(
                f"commit refs/heads/edits\nmark :{number}\ncommitter bench <bench@localhost> {stamp} +0000\n"
                f"data <<E\nedit {number}\n\nCavalcade-Run: {RUN}\nE\n\nfrom {parent}\n"
                f"M {mode:o} inline {path}\ndata {len(data)}\n".encode()
                + data
                + b"\n"
            )
    if process.returncode:
        raise RuntimeError(f"git fast-import ended with {process.returncode}")
    lines = (line.split() for line in marks.read_text().splitlines())
    named = {int(mark[1:]): CommitId(commit) for mark, commit in lines}
    return [named[number] for number in range(1, count + 1)]


async def _recorded(ledger: SqliteLedger, base: Base, commits: list[CommitId], trees: dict[CommitId, TreeId]) -> None:
    """A request, then two events for each edit; only the trees that are looked for are true."""
    clock, entropy = FakeClock(tick_s=0.01), SeededEntropy(1)

    def draft(payload: Payload, event: EventId | None = None) -> Draft:
        return Draft(
            id=event or new_event_id(clock, entropy),
            type=payload.TYPE,
            time=clock.now(),
            data=encode(payload),
            project=PROJECT,
            run=RUN,
            task=getattr(payload, "task", TaskId("")),
        )

    drafts = [draft(RunRequested(objective="bench", project=PROJECT, repository="/bench", base=base))]
    parent = base.commit
    for number, commit in enumerate(commits, start=1):
        proposal, path, blob = new_event_id(clock, entropy), f"file{number}", BlobId(commit)
        proposed = EditProposed(task=TASK, attempt=1, edit=number, path=path, before=blob, after=blob)
        tree = trees.get(commit, base.tree)
        applied = EditApplied(
            task=TASK, attempt=1, edit=number, path=path, proposal=proposal, commit=commit, parent=parent, tree=tree
        )
        drafts += [draft(proposed, proposal), draft(applied)]
        parent = commit
        if len(drafts) >= _BATCH:
            await ledger.append(run_stream(RUN), drafts)
            drafts = []
    await ledger.append(run_stream(RUN), drafts)


def _storing(folder: Path) -> list[Row]:
    """Bytes of disk blocks that each edit adds: singly and put together."""
    own = folder / "stored"
    own.mkdir()
    store = GitContentStore(own / "content.git")
    base = store.import_repository(folder / "repo")
    before = _disk_bytes(own / "content.git")
    commit = base.commit
    for number, (path, mode, data) in enumerate(_edits(store, base, STORED), start=1):
        change = Change(path, store.write(data), mode)
        commit = store.commit([commit], [change], message=f"edit {number}", trailers={"Cavalcade-Run": RUN}, when=WHEN)
    loose = (_disk_bytes(own / "content.git") - before) / STORED
    store.compact(enough=1)
    packed = (_disk_bytes(own / "content.git") - before) / STORED
    git_loose, git_packed = _plain(folder, base)
    return [
        _stored("disk per edit, one by one / plain git, loose", loose, git_loose, TARGET),
        _stored("disk per edit, packed (never against the user's own packs) / git gc", packed, git_packed, None),
    ]


def _plain(folder: Path, base: Base) -> tuple[float, float]:
    plain = folder / "plain.git"
    subprocess.run(["git", "clone", "-q", "--bare", "--no-hardlinks", str(folder / "repo"), str(plain)], check=True)
    before = _disk_bytes(plain)
    _imported(
        GitContentStore(folder / "stored" / "content.git"), plain, base, STORED, "-c", "fastimport.unpackLimit=1000000"
    )
    loose = _disk_bytes(plain) - before
    subprocess.run(["git", "-C", str(plain), "gc", "-q", "--prune=now"], check=True)
    return loose / STORED, (_disk_bytes(plain) - before) / STORED


def _disk_bytes(folder: Path) -> int:
    """Of the objects alone."""
    files = (Path(top, name) for top, _, names in os.walk(folder / "objects") for name in names)
    return sum(file.lstat().st_blocks * 512 for file in files)


def _stored(name: str, ours: float, peer: float, target: float | None) -> Row:
    ratio = ours / peer
    wanted = f"<= {target}" if target else "none"
    return Row(name, f"{ours:,.0f} B", f"{peer:,.0f} B", ratio, wanted, target is None or ratio <= target)


if __name__ == "__main__":
    for row in run():
        print(row)
