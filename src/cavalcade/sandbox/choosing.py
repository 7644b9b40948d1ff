"""Which sandbox a job runs in: the strongest that can do what the job needs and has passed its canaries here. Else none.

There is no running without. A name narrows the choice to one; it never widens it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import SandboxUnavailable, UsageError
from cavalcade.sandbox.bubblewrap import Bubblewrap, find_tools
from cavalcade.sandbox.canary import Kind, probe
from cavalcade.sandbox.cgroups import find_groups
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.landlock import KEPT_CAPABILITIES, Landlock, find_landlock
from cavalcade.sandbox.port import Sandbox
from cavalcade.sandbox.verdicts import Verdict, keep_verdict, key_of, read_verdicts
from cavalcade.sandbox.wasm import Wasm, compiled, find_wasmtime
from cavalcade.sandbox.wasm_guests import Provision, digest_of_file

Asked = Literal["auto", "bubblewrap", "landlock", "wasm"]
ASKED: tuple[str, ...] = get_args(Asked)
Need = Literal["native code", "subprocesses", "threads", "loopback network"]
TEST_SUITE: frozenset[Need] = frozenset({"native code", "subprocesses", "threads"})
"""What a project's own tests may want."""
_BUBBLEWRAP_HINT = (
    "bubblewrap needs user namespaces, or root with CAP_SYS_ADMIN. Enable them: sysctl -w kernel.unprivileged_userns_clone=1 "
    "(Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 24.04), user.max_user_namespaces=10000; in a container: "
    "allow them in its seccomp profile"
)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """`python` runs probes and has wasmtime, if there is any; `home` is the person's, never shown inside; `search_path` is where
    tools are looked for. `cache` is a file for verdicts, beside which guests of wasm are kept unless they are in `wasm_guests`.
    `landlock_abi` and `wasmtime_version` find what is there and raise SandboxUnavailable without.
    """

    cache: Path
    python: Path
    home: Path
    search_path: str
    clock: Clock
    entropy: Entropy
    landlock_abi: Callable[[], int] = find_landlock
    wasmtime_version: Callable[[], str] = find_wasmtime
    wasm_guests: Path | None = None


@dataclass(frozen=True)
class Opened:
    """A sandbox whose tool is there; `fingerprint` tells this state of the tool from another."""

    sandbox: Sandbox
    kind: Kind
    fingerprint: Sequence[str | int]
    hint: str


@dataclass(frozen=True)
class Tier:
    name: str
    offers: frozenset[Need]
    open: Callable[[Surroundings], Opened]


@dataclass(frozen=True)
class Considered:
    """One sandbox in a choice. `problems` is empty for one that contains; `hint` is what to install or allow."""

    name: str
    verified_at: datetime | None = None
    problems: tuple[str, ...] = ()
    hint: str = ""
    sandbox: Sandbox | None = None


@dataclass(frozen=True)
class Choice:
    """`considered` in order of strength; the last one is used, those before were passed over for their problems."""

    sandbox: Sandbox
    verified_at: datetime
    considered: tuple[Considered, ...]


async def open_sandbox(
    *,
    cache: Path,
    python: Path,
    home: Path,
    search_path: str,
    clock: Clock,
    entropy: Entropy,
    asked: str = "auto",
    needs: frozenset[Need] = TEST_SUITE,
) -> Sandbox:
    """The sandbox of this machine, probed: `choose` without the reasons. Raises SandboxUnavailable, UsageError."""
    around = Surroundings(cache=cache, python=python, home=home, search_path=search_path, clock=clock, entropy=entropy)
    return (await choose(asked, needs, around)).sandbox


async def choose(
    asked: str, needs: frozenset[Need], around: Surroundings, tiers: Sequence[Tier] | None = None
) -> Choice:
    """The first sandbox that offers what is needed and contains.

    Raises SandboxUnavailable with the reason of each that was passed over and what to install; UsageError for an unknown name.
    """
    if asked not in ASKED:
        raise UsageError(
            f"there is no sandbox {asked!r}", expected=" or ".join(ASKED), hint="set CAVALCADE_SANDBOX=auto"
        )
    seen: list[Considered] = []
    for tier in tiers if tiers is not None else TIERS:
        if asked not in ("auto", tier.name):
            continue
        lacks = needs - tier.offers
        found = Considered(tier.name, problems=_lacking(lacks)) if lacks else await consider(tier, around)
        seen.append(found)
        if found.sandbox and found.verified_at:
            return Choice(found.sandbox, found.verified_at, tuple(seen))
    raise _refused(asked, seen)


async def consider(tier: Tier, around: Surroundings) -> Considered:
    """The verdict on one sandbox: kept, or found out now."""
    try:
        opened = tier.open(around)
    except SandboxUnavailable as exc:
        return Considered(tier.name, problems=(exc.what,), hint=exc.hint)
    key = key_of([tier.name, str(around.python), *opened.fingerprint])
    kept = read_verdicts(around.cache).get(tier.name)
    if kept is None or kept.key != key:
        problems = await probe(opened.sandbox, opened.kind, around.entropy)
        if problems:
            return Considered(tier.name, problems=tuple(problems), hint=opened.hint)
        kept = Verdict(key, around.clock.now())
        keep_verdict(around.cache, tier.name, kept)
    return Considered(tier.name, verified_at=kept.verified_at, sandbox=opened.sandbox)


def kept_verdict(name: str, around: Surroundings) -> Considered:
    """What is known of a sandbox that is got ready on first use, without doing so."""
    kept = read_verdicts(around.cache).get(name)
    if kept is None:
        return Considered(name, problems=("not used yet: it is fetched, compiled and attacked on first use",))
    return Considered(name, verified_at=kept.verified_at)


def _lacking(needs: frozenset[Need]) -> tuple[str, ...]:
    return (f"it can't give what the job needs: {', '.join(sorted(needs))}",)


def _refused(asked: str, seen: Sequence[Considered]) -> SandboxUnavailable:
    what = (
        "no sandbox contains what it should here"
        if asked == "auto"
        else f"{asked} does not contain what it should here"
    )
    return SandboxUnavailable(
        f"{what}: generated code can't be run safely",
        hint="; ".join(dict.fromkeys(found.hint for found in seen if found.hint)),
        places=tuple(f"{found.name}: {problem}" for found in seen for problem in found.problems),
    )


def _bubblewrap(around: Surroundings) -> Opened:
    tools = find_tools(around.search_path)
    tools = replace(tools, version=_version(tools.bwrap))
    binary = Path(tools.bwrap).stat()
    fingerprint = [tools.bwrap, tools.prlimit, tools.setpriv, tools.version, binary.st_mtime_ns, binary.st_size]
    return Opened(Bubblewrap(tools, around.clock, find_groups()), _native(around, 0), fingerprint, _BUBBLEWRAP_HINT)


def _landlock(around: Surroundings) -> Opened:
    abi = around.landlock_abi()
    return Opened(
        Landlock(abi, around.python, around.clock, find_groups()), _native(around, KEPT_CAPABILITIES), [abi], ""
    )


def _wasm(around: Surroundings) -> Opened:
    wasmtime = around.wasmtime_version()
    provision = Provision(around.cache.parent / "wasm", around.search_path, around.wasm_guests)
    module = compiled(provision, around.python, wasmtime)
    fingerprint = [wasmtime, digest_of_file(module)]
    return Opened(
        Wasm(module, around.python, wasmtime, around.clock), Kind(python="python", guards=False), fingerprint, ""
    )


def _native(around: Surroundings, capabilities: int) -> Kind:
    readable = interpreter_roots(around.python, home=around.home)
    return Kind(python=str(around.python), readable=readable, capabilities=capabilities)


def _version(bwrap: str) -> str:
    try:
        done = subprocess.run([bwrap, "--version"], capture_output=True, timeout=10, check=True, env={})
    except (OSError, subprocess.SubprocessError) as exc:
        raise SandboxUnavailable(f"{bwrap} doesn't tell its version: {exc}", hint="reinstall bubblewrap") from exc
    return done.stdout.decode(errors="replace").split()[-1]


TIERS: tuple[Tier, ...] = (
    Tier("bubblewrap", frozenset({"native code", "subprocesses", "threads", "loopback network"}), _bubblewrap),
    Tier("landlock", frozenset({"native code", "subprocesses", "threads"}), _landlock),
    Tier("wasm", frozenset(), _wasm),
)
"""Strongest first."""
