"""`replay`: a run again from its record; what comes out differently is named."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DIVERGED, DONE
from cavalcade.cli.find import choose_run
from cavalcade.cli.terminal import Terminal
from cavalcade.domain.run import RunState
from cavalcade.kernel.ids import RunId
from cavalcade.replay.divergence import Divergence
from cavalcade.replay.replay import Replayed, Replayer
from cavalcade.sandbox.workspaces import FreshWorkspaces
from cavalcade.supervisor.timeline import count


async def replay(system: System, terminal: Terminal, text: str, *, tests: bool) -> int:
    """Every divergence, then what was done again. Nothing is recorded."""
    run = choose_run(text, await system.runs.list())
    state, history = await system.runs.load(run), await system.runs.history(run)
    replayed = await _replayer(system, run, state, tests=tests).replay(run, history)
    terminal.document(replayed)
    for divergence in replayed.divergences:
        terminal.data(divergence_text(divergence))
    terminal.data(summary(replayed))
    if replayed.parent is not None:
        told = f"what it shares ({count(replayed.shared, 'event')}) is its parent's: cavalcade replay {replayed.parent}"
        terminal.say(Text(told, "dim"))
    return DIVERGED if replayed.divergences else DONE


def _replayer(system: System, run: RunId, state: RunState, *, tests: bool) -> Replayer:
    assert state.start is not None  # a loaded run has begun
    system.learn_secrets(Path(state.start.repository))
    scratch = system.folder.workspace(run).with_name(f"replay-{run}")
    workspaces = FreshWorkspaces(scratch / "workspaces")
    return Replayer(
        scratch=scratch,
        lender=system.folder.content(state.start.project),
        index_cache=system.folder.index_cache,
        today=system.tests(workspaces),
        workspaces=workspaces,
        clock=system.clock,
        entropy=system.entropy,
        redactor=system.redactor,
        tests_again=tests,
    )


def divergence_text(divergence: Divergence) -> Text:
    text = Text.assemble((f"#{divergence.version:<4}", "bold"), (f"{divergence.layer:<9}", "red"), divergence.type)
    text.append("\n      on record  ", "dim").append(divergence.recorded)
    return text.append("\n      came out   ", "dim").append(divergence.came_out)


def summary(replayed: Replayed) -> Text:
    """One line: what was done again, and whether it is the same."""
    done = [
        count(replayed.decisions, "decision"),
        count(replayed.plans, "plan"),
        count(replayed.edits, "edit"),
        count(replayed.verdicts, "verdict"),
    ]
    text = Text.assemble(
        (f"run {replayed.run} ", "bold"),
        f"{count(replayed.events, 'event')}: the same again are {', '.join(done)}; ",
        f"{count(replayed.answered, 'verdict')} of tests from the record; ",
    )
    if replayed.divergences:
        diverged = len({divergence.version for divergence in replayed.divergences})
        first = replayed.divergences[0].version
        return text.append(f"{count(diverged, 'event')} diverged, the first is #{first}", "red")
    return text.append(f"{count(replayed.trees, 'tree')} bit for bit the same, nothing diverged", "green")
