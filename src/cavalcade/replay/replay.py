"""The whole replay of a run: its decisions by today's rules, then its work by today's supervisor and worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import DecodeError

from cavalcade.bus.memory import MemoryBus
from cavalcade.content.scratch import ScratchContentStore
from cavalcade.domain.run import Fact, RunState, fold
from cavalcade.domain.run.steps import PlanOf, Step, steps
from cavalcade.gates.suite import GATE as TESTS
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import ObjectMissing, Refused
from cavalcade.kernel.ids import BlobId, RunId, run_stream
from cavalcade.kernel.redaction import Redactor
from cavalcade.ledger.redacting import RedactingLedger
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.protocol.plan import Struct
from cavalcade.replay.answers import RecordedTests
from cavalcade.replay.decisions import decided_again, plans_in
from cavalcade.replay.divergence import Divergence, Layer, told
from cavalcade.replay.player import Player
from cavalcade.replay.tape import Tape, groups_of
from cavalcade.sandbox.scratch import discard
from cavalcade.sandbox.workspaces import FreshWorkspaces
from cavalcade.supervisor.runs import RunService, fact_of
from cavalcade.supervisor.supervise import Supervisor
from cavalcade.supervisor.timeline import short_type
from cavalcade.worker.project_tests import Tests
from cavalcade.worker.worker import Worker
from cavalcade.worker.workshop import Workshop


class Replayed(Struct, frozen=True, omit_defaults=False):
    """`events` are the run's own, after the `shared` ones of its parent. Of what came out the same: `decisions` made by the rules again,
    `plans` and `edits` made again, `trees` equal bit for bit, `verdicts` of gates reached again, `answered` from the record.
    """

    run: RunId
    parent: RunId | None
    shared: int
    events: int
    decisions: int
    plans: int
    edits: int
    trees: int
    verdicts: int
    answered: int
    divergences: tuple[Divergence, ...]


@dataclass(frozen=True)
class Replayer:
    """`scratch` is a folder of its own, gone afterwards, as are the `workspaces` in it; `lender` the project's content store, which is
    only read. `today` is how the project's tests are run now: asked only with `tests_again`, and where the record names no interpreter.
    """

    scratch: Path
    lender: Path
    index_cache: Path
    today: Tests
    workspaces: FreshWorkspaces
    clock: Clock
    entropy: Entropy
    redactor: Redactor
    tests_again: bool = False

    async def replay(self, run: RunId, history: Sequence[Recorded]) -> Replayed:
        """`history` is the run's whole one. Raises LedgerDamaged for an event that this version can't read."""
        discard(self.scratch)
        try:
            return await self._replay(run, history)
        finally:
            discard(self.scratch)

    async def _replay(self, run: RunId, history: Sequence[Recorded]) -> Replayed:
        content = ScratchContentStore(self.scratch / "content.git", self.lender)
        plan_of = plans_in(content)
        shared = [recorded for recorded in history if recorded.stream != run_stream(run)]
        own = history[len(shared) :]
        before = fold(map(fact_of, shared))
        found, divergences = _steps(own, plan_of, before)
        decided = list(decided_again(found, len(shared) + 1))
        groups = groups_of(found, own, len(shared))
        if decided:  # what comes after stands on what the rules don't give
            groups = [group for group in groups if group.first <= decided[0].version]
        divergences += [*decided, *_kept(content, history)]
        tape = Tape(run_stream(run), groups, entropy=self.entropy)
        if parent := _parent(
            own
        ):  # all of it as the parent's: where that is a fork itself, its own parent need not be known here
            await tape.append(run_stream(parent), [recorded.event for recorded in shared])
        payloads = [payload for group in groups for payload in group.payloads]
        tests = RecordedTests(payloads, plan_of, self.today, again=self.tests_again)
        await self._play(run, tape, content, tests)
        answered = "" if self.tests_again else TESTS
        return _summed(run, len(shared), own, len(groups) - bool(decided), tape, divergences, answered)

    async def _play(self, run: RunId, tape: Tape, content: ScratchContentStore, tests: Tests) -> None:
        runs = RunService(RedactingLedger(tape, self.redactor), self.clock, self.entropy)
        bus = MemoryBus(self.clock)
        shop = Workshop(
            record=runs,
            content_of=lambda _state: content,
            clock=self.clock,
            tests=tests,
            workspaces=self.workspaces,
            index_cache=self.index_cache,
        )
        try:
            await Player(run, tape, runs, Supervisor(runs, bus, lambda _state: content), Worker(bus, shop)).play()
        finally:
            await self.workspaces.aclose()


def _parent(own: Sequence[Recorded]) -> RunId | None:
    """The run that this one was forked from."""
    first = decode(own[0].event)
    return first.parent if isinstance(first, e.RunForked) else None


def _steps(own: Sequence[Recorded], plan_of: PlanOf, before: RunState) -> tuple[list[Step], list[Divergence]]:
    """All steps; where one makes no sense, or its plan is not there, those before it."""
    facts = [fact_of(recorded) for recorded in own]
    divergences: list[Divergence] = []
    for index, fact in enumerate(facts):
        if isinstance(fact.payload, e.PlanProposed) and (why := _unreadable(fact.payload.plan, plan_of)):
            divergences.append(_at(own[index], "effect", f"plan {fact.payload.plan}", why))
            facts = _whole(facts[:index])
            break
    try:
        return steps(facts, plan_of, before), divergences
    except Refused as error:
        bad = next(index for index, fact in enumerate(facts) if fact.id in error.what)
    wrong = _at(own[bad], "decision", told(facts[bad].payload), "no command of a run leads to it here")
    return steps(_whole(facts[:bad]), plan_of, before), [wrong, *divergences]


def _unreadable(plan: BlobId, plan_of: PlanOf) -> str:
    try:
        plan_of(plan)
    except ObjectMissing as error:
        return error.what
    except DecodeError as error:
        return f"no plan: {error}"
    return ""


def _whole(facts: list[Fact]) -> list[Fact]:
    """Without the beginning of a group at the end."""
    end = len(facts)
    while end and isinstance(facts[end - 1].payload, e.GateJudged | e.DecisionMade):
        end -= 1
    return facts[:end]


def _at(recorded: Recorded, layer: Layer, then: str, now: str) -> Divergence:
    kind = short_type(recorded.event.type)
    return Divergence(version=recorded.version, type=kind, layer=layer, recorded=then, came_out=now)


def _kept(content: ScratchContentStore, history: Sequence[Recorded]) -> list[Divergence]:
    """Where a commit that came from outside doesn't hold the tree that it is said to hold."""
    found: list[Divergence] = []
    for recorded in history:
        match decode(recorded.event):
            case e.RunRequested(base=state) | e.RunForked(base=state) | e.RecordingStarted(base=state):
                pass
            case (e.FilesChanged() | e.RecordingEnded()) as state:
                pass
            case _:
                continue
        try:
            tree = str(content.tree_of(state.commit))
        except ObjectMissing as error:
            tree = error.what
        if tree != state.tree:
            found.append(_at(recorded, "effect", f"commit {state.commit} with tree {state.tree}", f"tree {tree}"))
    return found


def _summed(
    run: RunId,
    shared: int,
    own: Sequence[Recorded],
    decisions: int,
    tape: Tape,
    divergences: list[Divergence],
    answered: str,
) -> Replayed:
    """`answered` names the gate whose verdicts came from the record."""
    same = Counter(type(payload) for payload in tape.same)
    verdicts = Counter(payload.receipt.gate for payload in tape.same if isinstance(payload, e.GateJudged))
    lost = sum(divergence.type == "files.changed" for divergence in divergences)
    return Replayed(
        run=run,
        parent=_parent(own),
        shared=shared,
        events=len(own),
        decisions=decisions,
        plans=same[e.PlanProposed],
        edits=same[e.EditApplied],
        trees=same[e.EditApplied] + same[e.TaskMerged] + same[e.FilesChanged] - lost,
        verdicts=verdicts.total() - verdicts[answered],
        answered=verdicts[answered],
        divergences=tuple(sorted((*divergences, *tape.divergences), key=lambda found: found.version)),
    )
