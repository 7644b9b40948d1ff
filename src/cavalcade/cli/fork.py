"""`fork`: a run goes on from any of its events once more, as it was or with other guidance."""

from __future__ import annotations

from msgspec.structs import replace

from cavalcade.cli.compose import System
from cavalcade.cli.drive import carry_on
from cavalcade.cli.failures import DONE
from cavalcade.cli.feedback import Direction
from cavalcade.cli.find import choose_run
from cavalcade.cli.gate import understood
from cavalcade.cli.report import Whole
from cavalcade.cli.terminal import Terminal
from cavalcade.domain.run import Fork
from cavalcade.kernel.ids import RunId
from cavalcade.protocol.plan import Base
from cavalcade.supervisor.history import Moment, moment_of_run, parse_when
from cavalcade.supervisor.timeline import row_of


class Forked(Whole, frozen=True):
    """`version` is the parent's last event that both share."""

    run: str
    parent: str
    event: str
    version: int
    guidance: str


async def fork(system: System, terminal: Terminal, text: str, at: str, guidance: str, *, yes: bool, wait: bool) -> int:
    """Makes the fork, then carries it on; without `wait` it is only put on the record."""
    parent = choose_run(text, await system.runs.list())
    moment = await moment_of_run(system.runs, parent, parse_when(at, system.clock.now()))
    command = _command(system, terminal, parent, moment, " ".join(guidance.split()), yes=yes)
    run = await system.fork(command, moment.state)
    row = row_of(moment.event)
    terminal.say(f"run {run} goes on from #{row.version} of run {parent} ({row.text})")
    if wait:
        return await carry_on(system, terminal, run)
    terminal.say(f"carry it out with: cavalcade resume {run}")
    terminal.document(
        Forked(run=run, parent=parent, event=moment.event.event.id, version=row.version, guidance=command.guidance)
    )
    terminal.data(run)
    return DONE


def _command(system: System, terminal: Terminal, parent: RunId, moment: Moment, guidance: str, *, yes: bool) -> Fork:
    """With guidance the fork stands on the tree of that moment, without on what its parent stood on. Raises UsageError."""
    state = moment.state
    goal = Direction(state.objective, state.recipe, state.settings)
    if guidance:
        goal = understood(guidance, goal, system.content_of(state).entries(moment.tree))
    return Fork(
        parent=parent,
        event=moment.event.event.id,
        version=moment.event.version,
        by=terminal.user,
        base=_base(moment) if guidance else _own_base(moment),
        guidance=guidance,
        objective=goal.objective,
        recipe=goal.recipe,
        settings=replace(goal.settings, auto_approve=yes),
    )


def _own_base(moment: Moment) -> Base:
    assert moment.state.start is not None  # the moment is of a run that has begun
    return moment.state.start.base


def _base(moment: Moment) -> Base:
    return replace(_own_base(moment), commit=moment.commit, tree=moment.tree)
