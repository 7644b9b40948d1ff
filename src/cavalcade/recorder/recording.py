"""One recording from start to end: the workspace, the program in it, what is seen of both, and the last state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from cavalcade.content.objects import printable_path
from cavalcade.content.port import ContentStore
from cavalcade.domain.run import EndRecording, RecordPublished
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import CavalcadeError, ToolFailed
from cavalcade.kernel.ids import CommitId, ProjectId, RunId, TreeId
from cavalcade.kernel.redaction import Redactor
from cavalcade.protocol.events import RecordingStarted
from cavalcade.protocol.plan import Base
from cavalcade.recorder.backlog import Backlog, Channel, Written
from cavalcade.recorder.eyes import Eyes
from cavalcade.recorder.keeping import Keeper
from cavalcade.recorder.looking import Gaze
from cavalcade.recorder.port import Journal, Program, Session, Sessions
from cavalcade.recorder.program import Running, Start, Streams
from cavalcade.recorder.watching import EVERYTHING, NoWatch, Watch, open_watch

_NEWS_S = 0.5
"""How often a known program's session files are read."""
_LONGEST_ARGUMENT = 500
_LISTED_BYTES = 4 << 10
"""What the names of uncommitted paths may take of the first event."""
_NOT_STARTED = 127
"""As a shell says it."""


class Order(NamedTuple):
    """`inside` is the folder to start in, relative to the top; `workspace` an absent folder, where the work is not done in place."""

    run: RunId
    command: tuple[str, ...]
    project: ProjectId
    repository: Path
    inside: Path
    workspace: Path | None
    environ: Mapping[str, str]
    home: Path


class Outcome(NamedTuple):
    """`exit_status` is negative for the signal that ended the program. `trouble` is why something could not be recorded.

    Of a known `program`'s conversation `said` entries are on record, and `left_out` records of its session files were not understood.

    `longest_s` is the longest time from something touched to the end of its look: states that lasted shorter may be missing.
    """

    exit_status: int
    looks: int
    branch: str
    unreadable: tuple[str, ...]
    blind: bool
    longest_s: float
    lost_looks: int
    lost_output_bytes: int
    trouble: CavalcadeError | None
    program: str
    said: int
    left_out: int


class _Scene(NamedTuple):
    """The folder before the program starts, and what watches it. `base` is what it holds."""

    base: Base
    gaze: Gaze
    watch: Watch


class _Parts(NamedTuple):
    backlog: Backlog
    keeper: Keeper
    eyes: Eyes
    session: Session | None


class Recorder:
    """`redactor` takes secrets out of what the program writes before it is kept."""

    def __init__(
        self, journal: Journal, content: ContentStore, clock: Clock, sessions: Sessions, redactor: Redactor
    ) -> None:
        self._redactor = redactor
        self._journal = journal
        self._content = content
        self._clock = clock
        self._sessions = sessions

    async def record(self, order: Order, streams: Streams, started: Callable[[Running], None]) -> Outcome:
        """Returns when the program has ended and all that can be is on record. `started` gets the program when it runs.

        Raises ContentError and LedgerError for what goes wrong before the program starts, ToolFailed when it can't be started. Nothing
        that goes wrong afterwards is raised: it is told in the outcome.
        """
        scene = await asyncio.to_thread(self._scene, order)
        try:
            return await self._record(order, scene, streams, started)
        finally:
            scene.watch.close()

    def _scene(self, order: Order) -> _Scene:
        """What happens to the folder after this, or while it is taken over, differs from `base` and is seen by the first look."""
        top = order.workspace or order.repository
        began = self._clock.now()
        base = self._content.import_repository(order.repository)
        if order.workspace is not None:
            self._content.copy(base, order.repository, top)
            began = self._clock.now()
        (top / order.inside).mkdir(parents=True, exist_ok=True)
        watch = open_watch(str(top))
        gaze = Gaze(str(top), self._content.folder(top), watch, self._clock)
        gaze.begin(self._content.entries(base.tree), unchanged_since=began)
        gaze.watch_all()
        return _Scene(base, gaze, watch)

    async def _record(
        self, order: Order, scene: _Scene, streams: Streams, started: Callable[[Running], None]
    ) -> Outcome:
        base, backlog = scene.base, Backlog()
        top = order.workspace or order.repository
        folder = top / order.inside
        program = Program(order.command, top, folder, order.home, self._clock.now(), order.environ)
        session = self._sessions.open(program)
        await self._begin(order, base, folder, session)
        keeper = self._keeper(order.run, backlog, base.commit, base.tree)
        eyes = Eyes(scene.gaze, scene.watch, backlog.put, self._clock)
        status = await self._run(order, folder, streams, started, _Parts(backlog, keeper, eyes, session))
        exit_status = _NOT_STARTED if isinstance(status, ToolFailed) else status
        branch = await self._end(order, keeper, exit_status, base)
        if isinstance(status, ToolFailed):
            raise status
        return Outcome(
            exit_status=exit_status,
            looks=keeper.looks,
            branch=branch,
            unreadable=tuple(f"{printable_path(path)}: {why}" for path, why in scene.gaze.unreadable.items()),
            blind=not scene.watch.complete,
            longest_s=eyes.longest_s,
            lost_looks=keeper.lost_looks + backlog.lost_looks,
            lost_output_bytes=keeper.lost_output_bytes + backlog.lost_bytes,
            trouble=keeper.trouble,
            program=session.program if session else "",
            said=keeper.said,
            left_out=session.left_out if session else 0,
        )

    def _keeper(self, run: RunId, backlog: Backlog, head: CommitId, tree: TreeId) -> Keeper:
        return Keeper(run, self._journal, self._content, backlog, self._redactor, head=head, tree=tree)

    async def _begin(self, order: Order, base: Base, folder: Path, session: Session | None) -> None:
        recording = RecordingStarted(
            command=tuple(_shortened(word) for word in order.command),
            project=order.project,
            repository=str(order.repository),
            base=_listing_less(base),
            folder=str(folder),
            in_place=order.workspace is None,
            program=session.program if session else "",
        )
        await self._journal.record(order.run, recording)
        self._content.set_ref(f"refs/runs/{order.run}/base", base.commit, expected=None)

    async def _run(
        self, order: Order, folder: Path, streams: Streams, started: Callable[[Running], None], parts: _Parts
    ) -> int | ToolFailed:
        def heard(channel: Channel, data: bytes) -> None:
            parts.backlog.put_output(Written(self._clock.now(), channel, data))

        ended = asyncio.Event()
        looking = asyncio.create_task(asyncio.to_thread(parts.eyes.run))
        keeping = asyncio.create_task(parts.keeper.keep())
        following = asyncio.create_task(_follow(parts.session, parts.backlog, ended))
        try:
            environ = {**order.environ, "CAVALCADE_RUN": order.run}
            running = Running(Start(order.command, folder, environ), streams, heard)
            started(running)
            return await asyncio.to_thread(running.run)
        except OSError as exc:
            return _not_started(order.command[0], exc)
        finally:
            parts.eyes.end()
            ended.set()
            await asyncio.gather(looking, following)
            parts.keeper.end()
            await keeping

    async def _end(self, order: Order, keeper: Keeper, status: int, base: Base) -> str:
        """The branch that holds the last state; empty when there is none. A recording that lacks its end can be resumed."""
        branch = ""
        try:
            if order.workspace is not None and keeper.head != base.commit:
                branch = await self._publish(order.run, order.repository)
        except CavalcadeError as error:
            keeper.trouble = error
        try:
            if not keeper.lost_looks:
                await self._journal.execute(order.run, EndRecording(status))
        except CavalcadeError as error:
            keeper.trouble = error
        return branch

    async def _publish(self, run: RunId, repository: Path) -> str:
        """The last state on record as a branch of the user's repository. Raises RepositoryNotUsable, LedgerError."""
        head = (await self._journal.load(run)).head
        branch = f"cavalcade/{run}"
        await asyncio.to_thread(self._content.publish, repository, branch, head)
        await self._journal.execute(run, RecordPublished(branch, head))
        return branch

    async def finish(self, run: RunId, top: Path) -> None:
        """Ends a recording whose recorder is gone, with a last look at `top` if it is still there. Nobody saw how the program ended.

        Raises CavalcadeError when that can't be put on record; it can be tried again.
        """
        state = await self._journal.load(run)
        recording = state.recording
        assert recording is not None  # only recordings are finished
        backlog = Backlog()
        keeper = self._keeper(run, backlog, state.head, state.head_tree)
        if not state.published:
            await asyncio.to_thread(self._look_once, top, state.head_tree, backlog)
        keeper.end()
        await keeper.keep()
        if keeper.trouble is not None:
            raise keeper.trouble
        if not recording.in_place and not state.published and keeper.head != recording.base.commit:
            await self._publish(run, Path(recording.repository))
        await self._journal.execute(run, EndRecording(None))

    def _look_once(self, top: Path, tree: TreeId, backlog: Backlog) -> None:
        if not top.is_dir():
            return
        watch = NoWatch()
        gaze = Gaze(str(top), self._content.folder(top), watch, self._clock)
        gaze.begin(self._content.entries(tree), unchanged_since=datetime.fromtimestamp(0, UTC))
        look = gaze.look(EVERYTHING)
        watch.close()
        if look.changes:
            backlog.put(look)


async def _follow(session: Session | None, backlog: Backlog, ended: asyncio.Event) -> None:
    """Puts what a known program writes down, and what it has written when it has ended."""

    def tell(session: Session) -> None:
        for said in session.news():
            backlog.put(said)

    while session is not None:
        last = ended.is_set()
        await asyncio.to_thread(tell, session)
        if last:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _NEWS_S)


def _shortened(word: str) -> str:
    return word if len(word) <= _LONGEST_ARGUMENT else f"{word[:_LONGEST_ARGUMENT]}... ({len(word):,} characters)"


def _listing_less(base: Base) -> Base:
    """A base that an event has room for."""
    room, count = _LISTED_BYTES, 0
    for path in base.dirty:
        room -= len(path.encode()) + 3
        if room < 0:
            break
        count += 1
    if count == len(base.dirty):
        return base
    note = f"{len(base.dirty) - count:,} more uncommitted paths"
    return replace(base, dirty=base.dirty[:count], notes=(*base.notes, note))


def _not_started(name: str, exc: OSError) -> ToolFailed:
    return ToolFailed(
        f"{name} can't be started: {exc.strerror}",
        expected="a program on PATH, or the path of one as seen from the folder it is started in",
        hint="a shell's own words need a shell: cavalcade record -- sh -c '...'",
    )
