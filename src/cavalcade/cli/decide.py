"""`approve`, `inject`, `abort`, `resume`: what a person says to a run."""

from __future__ import annotations

from cavalcade.cli.compose import System
from cavalcade.cli.drive import carry_on, tell
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run
from cavalcade.cli.gate import inject
from cavalcade.cli.record import end_recording
from cavalcade.cli.terminal import Terminal
from cavalcade.domain.run import Abort, Approve, Resume
from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.ids import RunId

_SHORTEST_HASH = 6


async def chosen(system: System, terminal: Terminal, text: str) -> RunId:
    run = choose_run(text, await system.runs.list())
    if not (await system.runs.load(run)).closed:
        terminal.run = run
    return run


async def approve(system: System, terminal: Terminal, text: str, plan_hash: str, *, wait: bool) -> int:
    """Approves the plan that waits, or the one with that hash only; then carries the run on."""
    run = await chosen(system, terminal, text)
    state = await system.runs.load(run)
    proposed = state.plan_hash or state.approved_hash
    given = plan_hash.lower()
    if given and not state.closed and not (len(given) >= _SHORTEST_HASH and proposed.startswith(given)):
        raise UsageError(
            f"the plan that waits is {proposed[:12] or 'not made yet'}, not {plan_hash}",
            expected=f"its hash, or at least the first {_SHORTEST_HASH} digits of it",
            hint=f"look at it: cavalcade show {run}",
        )
    await system.runs.execute(run, Approve(proposed, terminal.user))
    if not wait:
        terminal.run = None
        terminal.say(f"approved; carry it out with: cavalcade resume {run}")
        terminal.document({"run": run, "approved": proposed, "by": terminal.user})
        return DONE
    return await carry_on(system, terminal, run)


async def give_feedback(system: System, terminal: Terminal, text: str, feedback: str) -> int:
    run = await chosen(system, terminal, text)
    await inject(system, terminal, run, feedback)
    return await carry_on(system, terminal, run)


async def abort(system: System, terminal: Terminal, text: str, reason: str) -> int:
    """Done when it is on the record; whoever drives the run hears of it and stops."""
    run = await chosen(system, terminal, text)
    await system.runs.execute(run, Abort(terminal.user, reason))
    terminal.run = None
    await tell(system, terminal, run)
    return DONE


async def resume(system: System, terminal: Terminal, text: str) -> int:
    run = await chosen(system, terminal, text)
    state = await system.runs.load(run)
    if state.phase == "recording":
        await end_recording(system, terminal, run)
        terminal.run = None
        return await tell(system, terminal, run)
    if state.phase == "halted":
        await system.runs.execute(run, Resume(terminal.user))
    if state.closed:
        terminal.say(f"nothing to resume: the run is {state.phase}")
    return await carry_on(system, terminal, run)
