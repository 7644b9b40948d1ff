"""The embedded system, wired in one place: ledger, git content, memory bus, supervisor and workers in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path

from cavalcade.bus.memory import MemoryBus
from cavalcade.cli.channels import Say, side_channels
from cavalcade.cli.driving import Driver, alone, only_driver
from cavalcade.cli.holding import check_hold
from cavalcade.cli.ledgers import ledger_place
from cavalcade.cli.sandboxes import asked_sandbox, sandbox_surroundings
from cavalcade.cli.stopping import end_children, end_program_when_stopped, obey_stop_file
from cavalcade.config.dotenv import read_dotenv
from cavalcade.config.paths import DataFolder, data_folder
from cavalcade.config.pool import pool_bounds
from cavalcade.content.git import GitContentStore
from cavalcade.content.port import ContentStore
from cavalcade.domain.run import Fork, RunState
from cavalcade.gates.references import ReferencesGate
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.kernel.clock import Clock, SystemClock
from cavalcade.kernel.entropy import Entropy, SystemEntropy
from cavalcade.kernel.errors import ContentError, LedgerUnwritable, NotRecorded
from cavalcade.kernel.ids import CommitId, ProjectId, RunId
from cavalcade.kernel.redaction import Redactor
from cavalcade.ledger.port import Ledger
from cavalcade.ledger.redacting import RedactingLedger
from cavalcade.ledger.signing import SigningLedger, load_key
from cavalcade.protocol.events import RunRequested, Settings
from cavalcade.protocol.plan import RecipeCall
from cavalcade.recorder.program import Running, Streams
from cavalcade.recorder.recording import Order, Outcome, Recorder
from cavalcade.recorder.sessions.known import KnownSessions
from cavalcade.sandbox.choosing import TEST_SUITE, choose
from cavalcade.sandbox.pooled import PooledWorkspaces
from cavalcade.sandbox.port import Sandbox
from cavalcade.sandbox.refilling import Order as Refill
from cavalcade.sandbox.refilling import refilling
from cavalcade.sandbox.scratch import discard
from cavalcade.sandbox.workspaces import FreshWorkspaces, Workspaces
from cavalcade.supervisor.project_stream import ProjectStream
from cavalcade.supervisor.projects import Projects
from cavalcade.supervisor.reconcile import Reconciler
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.saving import Workplace
from cavalcade.supervisor.supervise import LEASE_S, Supervisor
from cavalcade.worker.project_tests import SandboxedTests
from cavalcade.worker.supervision import DeadMan, Supervision
from cavalcade.worker.worker import Worker, Workshop

WORKERS = 2
"""Jobs carried out at once: a test suite and an edit go together on two cores."""

_WORTH_REFILLING = 1000
"""Files of a tree that takes longer to lay out than a process to start."""


def _unheard(text: str) -> None:
    """Where nobody is there to be told."""
    del text


class System:
    """One process's view of everything. Make it with `open_system`."""

    def __init__(
        self,
        folder: DataFolder,
        ledger: Ledger,
        clock: Clock,
        entropy: Entropy,
        environ: Mapping[str, str],
        say: Say = _unheard,
    ) -> None:
        self._redacting = RedactingLedger(ledger, Redactor(environ))
        ledger = self._redacting  # from here on nobody appends past it
        self.folder = folder
        self.ledger: Ledger = ledger
        self.clock = clock
        self.entropy = entropy
        self.environ = environ
        self._say = say
        self._home = Path(environ.get("HOME") or Path.home())
        self.runs = RunService(ledger, clock, entropy)
        self.projects = Projects(ledger, clock, entropy)
        self._contents: dict[ProjectId, ContentStore] = {}
        self._sandbox: Sandbox | None = None

    @property
    def redactor(self) -> Redactor:
        """What takes secrets out of texts that are kept elsewhere than in the ledger."""
        return self._redacting.redactor

    def learn_secrets(self, repository: Path) -> None:
        """Before anything of a project is recorded: what its `.env` files set is recorded nowhere."""
        self._redacting.learn(read_dotenv(repository))

    def content(self, project: ProjectId) -> ContentStore:
        """The project's object store; made when there is none yet."""
        if project not in self._contents:
            self._contents[project] = self.open_content(self.folder.content(project))
        return self._contents[project]

    def open_content(self, folder: Path) -> ContentStore:
        return GitContentStore(folder)

    def reconciler(self, project: ProjectId, repository: Path) -> Reconciler:
        """Brings together what was made of a project apart; its branches go to `repository`."""
        content = self.content(project)

        def publish(branch: str, commit: CommitId) -> None:
            content.publish(repository, branch, commit)

        gates = (SyntaxGate(), ReferencesGate())
        projects = ProjectStream(self.ledger, self.clock, self.entropy)
        return Reconciler(project, self.ledger, self.runs, projects, content, gates, self.clock, publish)

    def content_of(self, state: RunState) -> ContentStore:
        assert state.start is not None  # a loaded run has begun
        return self.content(state.start.project)

    async def sandbox(self) -> Sandbox:
        """Chosen and probed once. Raises SandboxUnavailable."""
        if self._sandbox is None:
            around = sandbox_surroundings(self.folder, self.environ, self.clock, self.entropy)
            self._sandbox = (await choose(asked_sandbox(self.environ), TEST_SUITE, around)).sandbox
        return self._sandbox

    def tests(self, workspaces: Workspaces) -> SandboxedTests:
        return SandboxedTests(
            sandbox=self.sandbox,
            workspaces=workspaces,
            clock=self.clock,
            home=self._home,
            search_path=self.environ.get("PATH", ""),
            virtual_env=self.environ.get("VIRTUAL_ENV", ""),
        )

    async def request(
        self, objective: str, recipe: RecipeCall, repository: Path, settings: Settings, *, include_uncommitted: bool
    ) -> RunId:
        """Copies what the repository shows now and puts the request on the record. Nothing else has happened when this returns.

        `repository` is the top folder. Raises ContentError, LedgerError, Refused while there is a stop file.
        """
        check_hold(self.folder.stop_file)
        self.learn_secrets(repository)
        project = await self.projects.at(repository)
        content = self.content(project)
        base = await asyncio.to_thread(content.import_repository, repository, include_uncommitted=include_uncommitted)
        run = self.runs.new_id()
        request = RunRequested(
            objective=objective,
            project=project,
            repository=str(repository),
            base=base,
            recipe=recipe,
            settings=settings,
        )
        await self.runs.request(run, request)
        content.set_ref(f"refs/runs/{run}/base", base.commit, expected=None)
        return run

    async def fork(self, command: Fork, state: RunState) -> RunId:
        """A new run from `state`, where its parent was at the command's event. Raises Refused, ContentError, LedgerError.

        All that the fork stands on is named by references of its own first: a kill in between leaves names that nobody uses.
        """
        run, content = self.runs.new_id(), self.content_of(state)
        working = {f"tasks/{name}": task.commit for name, task in state.tasks.items() if task.commit}
        for name, commit in {"base": command.base.commit, "head": state.head, **working}.items():
            content.set_ref(f"refs/runs/{run}/{name}", commit, expected=None)
        await self.runs.fork(run, command)
        return run

    async def record(self, order: Order, streams: Streams, started: Callable[[Running], None]) -> Outcome:
        """See `Recorder.record`. The copy that was worked in goes when all of it is on record.

        Raises Refused while there is a stop file.
        """
        check_hold(self.folder.stop_file)
        self.learn_secrets(order.repository)
        with only_driver(self.folder.lock(order.run), order.run) as holding:
            recorder = self._recorder(self.content(order.project))
            watching: list[asyncio.Task[None]] = []

            def begun(running: Running) -> None:
                ending = end_program_when_stopped(self.runs, order.run, running, holding, self.clock)
                obeying = obey_stop_file(self.runs, order.run, self.folder.stop_file)
                watching.extend((asyncio.create_task(ending), asyncio.create_task(obeying)))
                started(running)

            try:
                return await recorder.record(order, streams, begun)
            finally:
                await _cancelled(watching)
                await self._discard_workspace(order.run)

    def _recorder(self, content: ContentStore) -> Recorder:
        return Recorder(self.runs, content, self.clock, KnownSessions(), self.redactor)

    async def end_recording(self, run: RunId) -> None:
        """Of a recording whose recorder is gone. Raises Busy while it is not."""
        with only_driver(self.folder.lock(run), run):
            state = await self.runs.load(run)
            recording = state.recording
            assert recording is not None  # only recordings are ended like this
            self.learn_secrets(Path(recording.repository))
            recorder = self._recorder(self.content_of(state))
            # What was recorded on another installation can't be looked at here, even if its project lies here now.
            ours = (await self.runs.history(run))[0].origin == self.ledger.origin
            in_place = recording.in_place and ours
            await recorder.finish(run, Path(recording.repository) if in_place else self.folder.workspace(run))
            await self._discard_workspace(run)

    async def _discard_workspace(self, run: RunId) -> None:
        """Not that of a recording whose end is not on record: it can still be looked at."""
        try:
            closed = (await self.runs.load(run)).closed
        except NotRecorded:
            closed = True
        if closed:
            await asyncio.to_thread(discard, self.folder.workspace(run))

    def is_driven(self, run: RunId) -> bool:
        """Whether a process drives or records it now."""
        return Driver(self.folder.lock(run)).process() is not None

    @contextmanager
    def workplace(self, project: ProjectId, folder: Path) -> Generator[Workplace]:
        """The project's working tree in `folder`, for this process alone. Raises Busy, LedgerUnwritable."""
        with alone(self.folder.lock(project), f"{folder} is being restored"):
            yield Workplace(self.ledger, self.content(project), self.clock, self.entropy, project, folder)

    async def drive(self, run: RunId) -> RunState:
        """Carries the run on until it is closed, was stopped, or waits for a person.

        Raises Busy when another process does so, Refused while there is a stop file.
        """
        check_hold(self.folder.stop_file)
        state = await self.runs.load(run)
        if state.start is not None:
            self.learn_secrets(Path(state.start.repository))
        with only_driver(self.folder.lock(run), run) as holding:
            async with self._workspaces(run, state) as workspaces:
                try:
                    return await self._drive(run, workspaces)
                finally:
                    holding.rest()

    async def _drive(self, run: RunId, workspaces: Workspaces) -> RunState:
        bus = MemoryBus(self.clock)
        workshop = Workshop(
            record=self.runs,
            content_of=self.content_of,
            clock=self.clock,
            tests=self.tests(workspaces),
            workspaces=workspaces,
            index_cache=self.folder.index_cache,
            say=self._say,
        )
        tasks = [asyncio.create_task(Worker(bus, workshop).serve()) for _ in range(WORKERS)]
        tasks.append(asyncio.create_task(obey_stop_file(self.runs, run, self.folder.stop_file)))
        dead_man = DeadMan(Supervision(lambda: bus.until_s, self.clock), lambda: end_children(self.clock))
        await bus.renew(LEASE_S)  # or the dead man's switch would find nobody there
        try:
            with dead_man.watching():
                state = await Supervisor(self.runs, bus, self.content_of).drive(run)
            if state.closed:
                with suppress(ContentError):  # upkeep: what can't be packed stays as it is
                    await asyncio.to_thread(self.content_of(state).compact)
            return state
        finally:
            await _cancelled(tasks)

    @asynccontextmanager
    async def _workspaces(self, run: RunId, state: RunState) -> AsyncGenerator[Workspaces]:
        """Those of the run's project; the pool is filled in the background where that is worth a process."""
        assert state.start is not None  # a loaded run has begun
        project, bounds = state.start.project, pool_bounds(self.environ)
        discard(self.folder.workspace(run))  # what a killed process left, that had no pool
        if not bounds.slots:
            fresh = FreshWorkspaces(self.folder.workspace(run))
            try:
                yield fresh
            finally:
                await fresh.aclose()
                discard(self.folder.workspace(run))
            return
        pool = PooledWorkspaces(self.folder.pool, project, bounds, self.clock, self.entropy)
        order = Refill(str(self.folder.pool), str(self.folder.content(project)), project, state.head_tree, bounds)
        worth = state.settings.tests and len(self.content(project).entries(state.head_tree)) >= _WORTH_REFILLING
        try:
            with refilling(order) if worth else nullcontext():
                yield pool
        finally:
            await pool.aclose()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _make_own(folder: Path) -> None:
    """Git takes nothing of it along, should it lie inside a working tree, as it does where a home folder is one. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")


@asynccontextmanager
async def open_system(environ: Mapping[str, str], say: Say) -> AsyncGenerator[System]:
    """`say` is told what did not get out by a side channel.

    Raises LedgerDamaged when the ledger does not hold together, LedgerUnwritable when it or the data folder can't be used, UsageError
    when a side channel, the address of the ledger or the size of the pool can't be.
    """
    folder = data_folder(environ)
    pool_bounds(environ)  # said before anything is done
    clock, entropy = SystemClock(), SystemEntropy()
    try:
        for own in (folder.root, folder.cache):
            _make_own(own)
    except OSError as exc:
        raise LedgerUnwritable(
            f"the data folder {folder.root} can't be used: {exc.strerror}",
            hint="make room for it, make it writable, or name another one: export CAVALCADE_HOME=DIR",
        ) from exc
    place = ledger_place(folder, environ)
    ledger = SigningLedger(
        await place.open(clock, entropy),
        lambda: load_key(folder.signing_key, entropy),
        clock,
        entropy,
        shared=place.shared,
    )
    try:
        async with side_channels(ledger, environ, say) as recording:
            yield System(folder, recording, clock, entropy, environ, say)
    finally:
        await ledger.aclose()
