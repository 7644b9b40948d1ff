"""`doctor`: what this machine has and lacks, line by line, each with what to do."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Mapping
from datetime import datetime

from rich.table import Table
from rich.text import Text

from cavalcade.cli.channels import channels_of
from cavalcade.cli.failures import DONE
from cavalcade.cli.ledgers import ledger_place
from cavalcade.cli.report import Whole
from cavalcade.cli.sandboxes import asked_sandbox, sandbox_surroundings
from cavalcade.cli.terminal import Terminal
from cavalcade.config.paths import DataFolder, data_folder
from cavalcade.config.pool import pool_bounds
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.errors import (
    CavalcadeError,
    LedgerError,
    LedgerUnwritable,
    SandboxUnavailable,
    ToolFailed,
    UsageError,
)
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.sandbox.canary import CONTROLS
from cavalcade.sandbox.choosing import TEST_SUITE, TIERS, Considered, choose, consider, kept_verdict
from cavalcade.sandbox.pooled import look
from cavalcade.supervisor.timeline import count
from cavalcade.telemetry.settings import asked

_LEAST_FREE_BYTES = 1 << 30
_TOOLS = ("ruff", "ty", "pyrefly")
_LIMIT_S = 30


class Finding(Whole, frozen=True):
    """`exit_status` is what the command ends with when this is the first thing that is wrong."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    exit_status: int = 0


async def doctor(terminal: Terminal) -> int:
    """All lines, then the exit status of the first that is not ok."""
    folder = data_folder(terminal.environ)
    findings = [finding async for finding in examine(folder, terminal.environ)]
    terminal.document({"ok": all(finding.ok for finding in findings), "checks": findings})
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.found).append(f"\n{finding.fix}" if finding.fix else "", "cyan")
        table.add_row(Text("ok", "green") if finding.ok else Text("--", "bold red"), finding.name, text)
    terminal.data(table)
    return next((finding.exit_status for finding in findings if not finding.ok), DONE)


async def examine(folder: DataFolder, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    yield _python()
    yield await _program("git", shutil.which("git", path=environ.get("PATH")), "apt install git")
    for tool in _TOOLS:
        scripts = sysconfig.get_path("scripts")
        yield await _program(
            tool, shutil.which(tool, path=scripts), f"{sys.executable} -m pip install --force-reinstall {tool}"
        )
    data = _data_folder(folder)
    yield data
    yield _space(folder)
    yield _pool(folder, environ)
    if data.ok:
        yield await _ledger(folder, environ)
    async for finding in _sandbox(folder, environ):
        yield finding
    yield await _side_channels(environ)


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    fix = "" if good else "install Python 3.11 or newer and put Cavalcade into it"
    return Finding(
        name="python", ok=good, found=f"{platform.python_version()} at {sys.executable}", fix=fix, exit_status=8
    )


async def _program(name: str, path: str | None, install: str) -> Finding:
    if path is None:
        return Finding(name=name, ok=False, found="not found", fix=install, exit_status=ToolFailed.exit_status)
    try:
        done = await asyncio.to_thread(
            subprocess.run, [path, "--version"], capture_output=True, text=True, timeout=_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return Finding(
            name=name, ok=False, found=f"{path} doesn't run: {exc}", fix=install, exit_status=ToolFailed.exit_status
        )
    return Finding(
        name=name,
        ok=True,
        found=f"{done.stdout.strip().split()[-1] if name != 'git' else done.stdout.split()[2]} at {path}",
    )


def _data_folder(folder: DataFolder) -> Finding:
    try:
        for path in (folder.root, folder.cache):
            path.mkdir(parents=True, exist_ok=True)
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(path))
    except OSError as exc:
        fix = "make it writable, or name another one: export CAVALCADE_HOME=DIR"
        return Finding(
            name="data folder",
            ok=False,
            found=f"{folder.root} can't be used: {exc.strerror}",
            fix=fix,
            exit_status=LedgerUnwritable.exit_status,
        )
    return Finding(name="data folder", ok=True, found=f"{folder.root} (cache: {folder.cache})")


def _space(folder: DataFolder) -> Finding:
    existing = next(path for path in (folder.root, *folder.root.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    good = free >= _LEAST_FREE_BYTES
    fix = "" if good else f"make room; {folder.cache} can be removed at any time"
    return Finding(
        name="disk space",
        ok=good,
        found=f"{free / (1 << 30):.1f} GiB free",
        fix=fix,
        exit_status=LedgerUnwritable.exit_status,
    )


def _pool(folder: DataFolder, environ: Mapping[str, str]) -> Finding:
    try:
        bounds = pool_bounds(environ)
        slots = look(folder.pool)
    except UsageError as exc:
        return _broken("pool", exc)
    except OSError as exc:
        return Finding(
            name="pool",
            ok=False,
            found=f"{folder.pool}: {exc.strerror}",
            fix=f"remove {folder.pool}",
            exit_status=LedgerUnwritable.exit_status,
        )
    if not bounds.slots:
        return Finding(name="pool", ok=True, found="off: every workspace is made when it is needed")
    ready = [slot for slot in slots if slot.status == "ready"]
    size = sum(slot.size_bytes for slot in ready) / (1 << 20)
    found = f"{count(len(ready), 'workspace')} ready, {size:.1f} MiB"
    found += f" (at most {bounds.slots}, {bounds.size_bytes >> 20} MiB)"
    others = len(slots) - len(ready)
    return Finding(name="pool", ok=True, found=found + (f", {others} in use or left over" if others else ""))


async def _ledger(folder: DataFolder, environ: Mapping[str, str]) -> Finding:
    try:
        place = ledger_place(folder, environ)
        if not place.begun:
            return Finding(name="ledger", ok=True, found=f"none yet; the first run makes {place.label}")
        ledger = await place.open(SystemClock(), SystemEntropy())
    except CavalcadeError as exc:
        return _broken("ledger", exc)
    try:
        state = await ledger.verify(keys=environ.get("CAVALCADE_KEY", "").split())
    except CavalcadeError as exc:
        return _broken("ledger", exc)
    finally:
        await ledger.aclose()
    if state.bad_position is not None:
        fix = f"bring {place.label} back from a copy; the {count(state.events, 'event')} before it are good"
        return Finding(
            name="ledger",
            ok=False,
            found=f"damaged at position {state.bad_position}: {state.problem}",
            fix=fix,
            exit_status=LedgerError.exit_status,
        )
    return Finding(name="ledger", ok=True, found=f"{place.label}, whole: {count(state.events, 'event')}")


async def _sandbox(folder: DataFolder, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    """The one that a project's tests run in, then each that may be used with what it was attacked with."""
    around = sandbox_surroundings(folder, environ, SystemClock(), SystemEntropy())
    asked = asked_sandbox(environ)
    try:
        chosen = await choose(asked, TEST_SUITE, around)
    except (SandboxUnavailable, UsageError) as exc:
        yield _broken("sandbox", exc)
        return
    except OSError as exc:
        yield _broken("sandbox", SandboxUnavailable(f"it can't be probed: {exc}"))
        return
    passed_over = [f"{found.name} is passed over: {'; '.join(found.problems)}" for found in chosen.considered[:-1]]
    about = chosen.sandbox.describe()
    text = f"{about['tool']} {about['version']}, contains what it should{_at(chosen.verified_at)}"
    yield Finding(name="sandbox", ok=True, found="\n".join((text, *passed_over)))
    for tier in TIERS:
        if asked in ("auto", tier.name):
            yield _verdict(await consider(tier, around) if tier.offers else kept_verdict(tier.name, around))


def _verdict(found: Considered) -> Finding:
    """Nothing is wrong when one of several sandboxes is missing."""
    name = f"sandbox {found.name}"
    if found.verified_at is None:
        return Finding(name=name, ok=True, found="; ".join(found.problems), fix=found.hint)
    controls = ", ".join(control.replace("_", " ") for control in CONTROLS)
    text = f"blocks: {controls}{_at(found.verified_at)}"
    partial = found.sandbox.describe().get("partial") if found.sandbox else None
    return Finding(name=name, ok=True, found=f"{text}\npartial: {partial}" if partial else text)


async def _side_channels(environ: Mapping[str, str]) -> Finding:
    """Each is opened as a command would open it."""
    notes: list[str] = []
    try:
        channels = list(channels_of(asked(environ), MemoryLedger(entropy=SystemEntropy()), notes.append))
    except UsageError as exc:
        return _broken("side channels", exc)
    for channel in channels:
        await channel.aclose()
    found = ", ".join(channel.name for channel in channels) or "none asked for"
    return Finding(name="side channels", ok=True, found=found, fix="; ".join(notes))


def _at(moment: datetime) -> str:
    return f" (attacked and verified at {moment.astimezone():%Y-%m-%d %H:%M:%S})"


def _broken(name: str, error: CavalcadeError) -> Finding:
    found = "\n".join((error.what, *error.places))
    return Finding(name=name, ok=False, found=found, fix=error.hint, exit_status=error.exit_status)
