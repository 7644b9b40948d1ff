"""`verify`: the ledger's chain and its signed heads, and with `--gates` every verdict of a run asked again."""

from __future__ import annotations

import re

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run, home_folder
from cavalcade.cli.ledgers import LedgerPlace, ledger_place
from cavalcade.cli.terminal import Terminal
from cavalcade.cli.tree import with_system
from cavalcade.config.paths import data_folder
from cavalcade.gates.defaults import edit_gates, tree_gates
from cavalcade.gates.suite import Suite
from cavalcade.kernel.errors import LedgerDamaged, LedgerError, ObjectMissing, ToolFailed, UsageError
from cavalcade.kernel.ids import RunId
from cavalcade.ledger.port import SignedHead, Verification
from cavalcade.sandbox.scratch import discard
from cavalcade.sandbox.workspaces import FreshWorkspaces
from cavalcade.supervisor.content_check import check_content
from cavalcade.supervisor.recheck import Rechecked, receipts_of, recheck
from cavalcade.supervisor.timeline import count, duration
from cavalcade.terrain.index import Index

_SHOWN = 8
_STYLES = {"same": "green", "differs": "red", "unknown": "yellow"}


def verify(terminal: Terminal, text: str, *, gates: bool, content: bool, keys: list[str]) -> int:
    """Also of a ledger that refuses to open.

    Raises LedgerDamaged naming the first bad position, ToolFailed when a verdict isn't confirmed, UsageError for no key.
    """
    if gates and not text:
        raise UsageError(
            "--gates needs a run", expected="cavalcade verify RUN --gates", hint="`last` is the newest run"
        )
    _check_keys(keys)
    opened = False

    async def command(system: System) -> int:
        nonlocal opened
        opened = True
        return await _verify(system, terminal, text, gates=gates, content=content, keys=keys)

    try:
        return with_system(terminal, command)
    except LedgerDamaged as refusal:
        if opened:
            raise
        place = ledger_place(data_folder(terminal.environ), terminal.environ)
        _raise_for(_walked(place, keys, refusal), place)
        raise refusal from None


def _walked(place: LedgerPlace, keys: list[str], refusal: LedgerDamaged) -> Verification:
    """The full walk over a ledger that refused to open. Raises that refusal when it can't be walked at all."""
    try:
        return place.walk(keys)
    except LedgerError:
        raise refusal from None


def _check_keys(keys: list[str]) -> None:
    for key in keys:
        if not re.fullmatch("[0-9a-fA-F]{64}", key):
            raise UsageError(
                f"{key!r} is no public key",
                expected="64 hexadecimal digits",
                hint="`cavalcade verify` where the ledger is known to be good shows its key",
            )


async def _verify(system: System, terminal: Terminal, text: str, *, gates: bool, content: bool, keys: list[str]) -> int:
    run = choose_run(text, await system.runs.list()) if text else None
    found = await system.ledger.verify(keys=keys)
    _raise_for(found, ledger_place(system.folder, system.environ))
    chain: dict[str, object] = {
        "events": found.events,
        "head": found.head,
        "whole": True,
        "signed": [signed._asdict() for signed in found.signed],
    }
    terminal.data(Text(f"ledger  whole: {count(found.events, 'event')}, head {found.head[:12]}", "green"))
    for signed in found.signed:
        terminal.data(f"signed  {_signed(signed, own=signed.origin == system.ledger.origin)}")
    if content:
        chain["content"] = await _content(system, terminal)
    if run is None or not gates:
        recorded = await system.runs.history(run) if run is not None else []
        terminal.document({"ledger": chain} | ({"run": run, "events": len(recorded)} if run else {}))
        if run is not None:
            terminal.data(f"run     {run}: {count(len(recorded), 'event')}, all in the chain")
        return DONE
    results = await _gates(system, terminal, run)
    terminal.document({"ledger": chain, "run": run, "gates": results})
    return _concluded(terminal, run, results)


async def _content(system: System, terminal: Terminal) -> dict[str, int]:
    """Raises ObjectMissing naming the objects that can't be read, and the first events that need them."""
    found = await check_content(system.ledger, system.content)
    if found.lacking:
        first = found.lacking[0]
        places = [
            f"{each.error.what}  (event {each.event.event.id}, position {each.event.position}"
            + (f", {each.error.places[0]})" if each.error.places else ")")
            for each in found.lacking
        ]
        more = (f"... and {len(places) - _SHOWN} more",) if len(places) > _SHOWN else ()
        raise ObjectMissing(
            f"{count(len(places), 'object')} that the record names can't be read, the first for position {first.event.position}",
            expected=f"all {count(found.objects, 'object')} in the content stores",
            hint=first.error.hint,
            places=(*places[:_SHOWN], *more),
        )
    terminal.data(Text(f"content whole: {count(found.objects, 'object')} of {count(found.events, 'event')}", "green"))
    if found.elsewhere:
        terminal.data(Text(f"        {count(found.elsewhere, 'object')} of other installations are not here", "yellow"))
    return {"objects": found.objects, "elsewhere": found.elsewhere}


def _signed(signed: SignedHead, *, own: bool) -> str:
    whose = "" if own else f" of {signed.origin}"
    return f"{count(signed.signatures, 'head')}{whose}, the last at event {signed.seq}, key {signed.key}"


def _raise_for(found: Verification, place: LedgerPlace) -> None:
    """Raises LedgerDamaged for what isn't whole."""
    if found.bad_position is None:
        return
    where = f"at position {found.bad_position}" if found.bad_position else "as a whole"
    hint = f"the {count(found.events, 'event')} before it are good; bring {place.label} back from a copy"
    if found.problem.startswith("wrong key"):
        hint = (
            "if that key was replaced on purpose, name the old and the new one: `cavalcade verify --key HEX --key HEX`"
        )
    raise LedgerDamaged(
        f"the ledger is damaged {where}: {found.problem}",
        hint=hint,
        places=(f"position {found.bad_position}",) if found.bad_position else (),
    )


async def _gates(system: System, terminal: Terminal, run: RunId) -> list[Rechecked]:
    state = await system.runs.load(run)
    history = await system.runs.history(run)
    content = system.content_of(state)
    workspace = system.folder.workspace(run).with_name(f"verify-{run}")
    workspaces = FreshWorkspaces(workspace)
    suite = Suite(
        content, system.sandbox, workspaces, system.clock, home_folder(system.environ), state.settings.test_timeout_s
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
        await workspaces.aclose()
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
