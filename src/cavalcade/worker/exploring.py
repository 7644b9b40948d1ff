"""Finding out why a proposal failed, before anything is tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from cavalcade.agents.port import approved_plan
from cavalcade.domain.plan import SealedPlan
from cavalcade.domain.run import RecordExploration, RunState, TaskState
from cavalcade.gates.suite import GATE, SuiteDetails, read_details
from cavalcade.gates.tests import FailurePlace
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import GateJudged, Payload, TaskBounced, TaskStarted, decode
from cavalcade.protocol.plan import Place, PlannedEdit
from cavalcade.protocol.receipt import Receipt
from cavalcade.worker.workshop import Workshop

_SHOWN_PLACES = 20


def explore(shop: Workshop, state: RunState, task: TaskState, history: Sequence[Recorded]) -> RecordExploration:
    """The finding, its places, and which residual edits of the plan to try next.

    First those in files that the failures lead to, then all; None when there is nothing new to try.
    """
    sealed = approved_plan(shop.content_of(state), state)
    payloads = [decode(recorded.event) for recorded in history if recorded.event.task == task.spec.id]
    bounce, receipts = _last_bounce(payloads)
    details = _details(shop, state, receipts)
    tried = {payload.residual for payload in payloads if isinstance(payload, TaskStarted)}
    told = details is None or not details.unfinished
    retry = _next_try(task, sealed, _led_to(receipts, details), tried) if told else None
    finding, places = _explain(bounce, receipts, details, sealed, task)
    return RecordExploration(task=task.spec.id, attempt=task.attempt, finding=finding, places=places, retry=retry)


def _last_bounce(payloads: Sequence[Payload]) -> tuple[TaskBounced, list[Receipt]]:
    """The bounce that is looked into, and the failed verdicts of that attempt."""
    bounce = next(payload for payload in reversed(payloads) if isinstance(payload, TaskBounced))
    receipts = [
        payload.receipt
        for payload in payloads
        if isinstance(payload, GateJudged) and payload.attempt == bounce.attempt and payload.receipt.verdict == "failed"
    ]
    return bounce, receipts


def _details(shop: Workshop, state: RunState, receipts: list[Receipt]) -> SuiteDetails | None:
    kept = next((receipt.details for receipt in receipts if receipt.gate == GATE and receipt.details), None)
    return read_details(shop.content_of(state).read(kept)) if kept else None


def _led_to(receipts: list[Receipt], details: SuiteDetails | None) -> set[str]:
    """The files that the failures point at."""
    found = {finding.path for receipt in receipts for finding in receipt.findings}
    if details is not None:
        found.update(path for place in details.failures for path, _ in place.trace)
    return found


def _next_try(
    task: TaskState, sealed: SealedPlan, led_to: set[str], tried: set[tuple[int, ...]]
) -> tuple[int, ...] | None:
    if task.rejected:
        return None
    candidates = [edit for edit in sealed.plan.edits if edit.number in task.spec.residual]
    near = tuple(edit.number for edit in candidates if edit.path in led_to)
    every = tuple(edit.number for edit in candidates)
    return next((choice for choice in (near, every) if choice and choice not in tried), None)


def _explain(
    bounce: TaskBounced,
    receipts: list[Receipt],
    details: SuiteDetails | None,
    sealed: SealedPlan,
    task: TaskState,
) -> tuple[str, tuple[Place, ...]]:
    if details is None:
        findings = [finding for receipt in receipts for finding in receipt.findings]
        places = tuple(Place(path=f.path, line=f.line, column=f.column, why=f.message) for f in findings)
        what = bounce.reason or ", ".join(bounce.gates)
        return what, (*places, *bounce.places)[:_SHOWN_PLACES]
    if details.unfinished:
        why = " and ".join(details.unfinished)
        finding = (
            f"the tests did not run to their end ({why}), so nothing can be said of the change; give them more time or another "
            "command in cavalcade.toml, or use --no-tests"
        )
        return finding, _suspects(details.failures, sealed, task)
    reasons = Counter[str]()
    for place in details.failures:
        reasons[f"{place.type}: {place.message}".partition("\n")[0].removeprefix(": ")] += len(place.tests)
    told = "; ".join(f"{message} ({count}x)" for message, count in reasons.most_common(3))
    finding = f"{len(details.lost)} tests that passed before fail now: {told or 'no reason was reported'}"
    return finding, _suspects(details.failures, sealed, task)


def _suspects(failures: Iterable[FailurePlace], sealed: SealedPlan, task: TaskState) -> tuple[Place, ...]:
    """Unresolved places and residual edits first, since that is where a person has to look; then where the tests failed."""
    residual: list[PlannedEdit] = [edit for edit in sealed.plan.edits if edit.number in task.spec.residual]
    places = [*sealed.plan.unresolved, *(place for edit in residual for place in edit.places)]
    places += [Place(path=place.path, line=place.line, why=place.message.partition("\n")[0]) for place in failures]
    first: dict[tuple[str, int], Place] = {}
    for place in places:
        first.setdefault((place.path, place.line), place)
    return tuple(first.values())[:_SHOWN_PLACES]
