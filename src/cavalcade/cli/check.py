"""`verify`: the ledger's chain, and with `--gates` every verdict of a run asked again."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run, home_folder
from cavalcade.cli.terminal import Terminal
from cavalcade.gates.defaults import edit_gates, tree_gates
from cavalcade.gates.suite import Suite
from cavalcade.kernel.errors import LedgerDamaged, ToolFailed, UsageError
from cavalcade.kernel.ids import RunId
from cavalcade.sandbox.scratch import discard
from cavalcade.supervisor.recheck import Rechecked, receipts_of, recheck
from cavalcade.supervisor.timeline import count, duration
from cavalcade.terrain.index import Index

_STYLES = {"same": "green", "differs": "red", "unknown": "yellow"}


async def verify(system: System, terminal: Terminal, text: str, *, gates: bool) -> int:
    """Raises LedgerDamaged naming the first bad position, ToolFailed when a verdict isn't confirmed."""
    if gates and not text:
        raise UsageError(
            "--gates needs a run", expected="cavalcade verify RUN --gates", hint="`last` is the newest run"
        )
    run = choose_run(text, await system.runs.list()) if text else None
    chain = await _chain(system)
    terminal.data(Text(f"ledger  whole: {count(chain['events'], 'event')}, head {chain['head'][:12]}", "green"))
    if run is None or not gates:
        recorded = await system.runs.history(run) if run is not None else []
        terminal.document({"ledger": chain} | ({"run": run, "events": len(recorded)} if run else {}))
        if run is not None:
            terminal.data(f"run     {run}: {count(len(recorded), 'event')}, all in the chain")
        return DONE
    results = await _gates(system, terminal, run)
    terminal.document({"ledger": chain, "run": run, "gates": results})
    return _concluded(terminal, run, results)


async def _chain(system: System) -> dict[str, Any]:
    found = await system.ledger.verify()
    if found.bad_position is not None:
        where = f"at position {found.bad_position}" if found.bad_position else "as a whole"
        raise LedgerDamaged(
            f"the ledger is damaged {where}: {found.problem}",
            hint=f"the {count(found.events, 'event')} before it are good; bring {system.folder.ledger} back from a copy",
        )
    return {"events": found.events, "head": found.head, "whole": True}


async def _gates(system: System, terminal: Terminal, run: RunId) -> list[Rechecked]:
    state = await system.runs.load(run)
    history = await system.runs.history(run)
    content = system.content_of(state)
    workspace = system.folder.workspace(run).with_name(f"verify-{run}")
    suite = Suite(
        content, system.sandbox, workspace, system.clock, home_folder(system.environ), state.settings.test_timeout_s
    )
    index = Index(content, system.folder.index_cache)
    gates = [*edit_gates(), *tree_gates(index)]
    total = len(receipts_of(history))
    results: list[Rechecked] = []
    try:
        async for result in recheck(history, content, gates, suite.rejudge, system.clock):
            results.append(result)
            _tell(terminal, result)
            if terminal.live:
                terminal.console.print(f"{len(results)} of {total}", end="\r")
    finally:
        index.close()
        discard(workspace)
    return results


def _tell(terminal: Terminal, result: Rechecked) -> None:
    about = f"edit {result.edit}" if result.edit is not None else "whole tree"
    text = Text(f"#{result.version:<4} ").append(f"{result.outcome:<8}", _STYLES[result.outcome])
    text.append(f"{result.task}  {about:<10}  {result.gate} {result.verdict}  ")
    text.append(duration(result.duration_ms / 1000), "dim")
    terminal.data(text.append(f"  {result.why}" if result.why else ""))


def _concluded(terminal: Terminal, run: RunId, results: list[Rechecked]) -> int:
    open_ones = [result for result in results if result.outcome != "same"]
    if not open_ones:
        terminal.say(Text(f"{count(len(results), 'verdict')} of run {run} asked again, all the same", "green"))
        return DONE
    terminal.say(Text(f"{len(open_ones)} of {count(len(results), 'verdict')} of run {run} not confirmed", "red"))
    return ToolFailed.exit_status
