"""Asking the gates again: every receipt of a run, executed a second time and compared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Literal

from cavalcade.content.port import TreeReader
from cavalcade.gates.port import Gate
from cavalcade.gates.run import difference, rejudge
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import CavalcadeError
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import GateJudged, decode
from cavalcade.protocol.plan import Struct
from cavalcade.protocol.receipt import Receipt

Rejudge = Callable[[Receipt], Awaitable[Receipt]]


class Rechecked(Struct, frozen=True):
    """`outcome`: `same`, `differs` (with why), or `unknown` when no verdict could be reached here (tool or sandbox missing)."""

    version: int
    task: str
    edit: int | None
    gate: str
    verdict: str
    outcome: Literal["same", "differs", "unknown"]
    why: str = ""
    duration_ms: float = 0.0


def receipts_of(history: Iterable[Recorded]) -> list[tuple[int, GateJudged]]:
    """Every verdict of a run with its event's number."""
    found = ((recorded.version, decode(recorded.event)) for recorded in history)
    return [(version, payload) for version, payload in found if isinstance(payload, GateJudged)]


async def recheck(
    history: Sequence[Recorded], reader: TreeReader, gates: Sequence[Gate], tests: Rejudge, clock: Clock
) -> AsyncIterator[Rechecked]:
    """Each receipt in order, as soon as it is judged again. `tests` runs the test suites again; the other gates are `gates`."""
    for version, judged in receipts_of(history):
        started = clock.monotonic_s()
        receipt = judged.receipt
        try:
            again = await (tests(receipt) if receipt.gate == "tests" else rejudge(receipt, reader, gates, clock))
        except CavalcadeError as error:
            outcome, why = "unknown", error.what
        else:
            why = difference(receipt, again)
            outcome = "differs" if why else "same"
        yield Rechecked(
            version=version,
            task=judged.task,
            edit=judged.edit,
            gate=receipt.gate,
            verdict=receipt.verdict,
            outcome=outcome,
            why=why,
            duration_ms=round((clock.monotonic_s() - started) * 1000, 1),
        )
