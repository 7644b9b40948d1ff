"""How the plan of an edit came about, as far as the record tells."""

from __future__ import annotations

from collections.abc import Iterable

from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.supervisor.why.answers import Approval, PlanningStep


def planning_steps(payloads: Iterable[tuple[Recorded, e.Payload]]) -> tuple[PlanningStep, ...]:
    """Plans proposed, decisions, and what people told the run, in order."""
    return tuple(step for recorded, payload in payloads if (step := _step(recorded, payload)) is not None)


def _step(recorded: Recorded, payload: e.Payload) -> PlanningStep | None:
    version, time = recorded.version, recorded.event.time
    match payload:
        case e.PlanProposed():
            text = f"plan {payload.plan_hash[:12]}, round {payload.round}: {len(payload.tasks)} tasks"
            return PlanningStep(version=version, time=time, kind="plan", by=recorded.event.role, text=text)
        case e.DecisionMade(decision):
            text = f"{decision.choice} ({decision.question})"
            return PlanningStep(version=version, time=time, kind="decision", by=recorded.event.role, text=text)
        case e.FeedbackInjected():
            return PlanningStep(version=version, time=time, kind="feedback", by=payload.by, text=payload.text)
        case e.RunForked() if payload.guidance:
            return PlanningStep(version=version, time=time, kind="fork", by=payload.by, text=payload.guidance)
        case _:
            return None


def approval_of(payloads: Iterable[tuple[Recorded, e.Payload]], plan_hash: str) -> Approval | None:
    for recorded, payload in payloads:
        if isinstance(payload, e.PlanApproved) and payload.plan_hash == plan_hash:
            return Approval(plan_hash=plan_hash, by=payload.by, time=recorded.event.time)
    return None
