"""The rules of the pool of workspaces: which laid-out folder is handed out, which are made before they are asked for, which go.

Pure: `decide(pool, command)` gives the pool as it is then and what is to be done; whoever does it says how it came out by another
command. Nothing of this is on the record: the pool is a cache, and the truth about a folder is what lies on the disk.

Three rules hold whatever happens. A workspace is handed out to one at a time. Only one whose content was proven just before is handed
out. One that its user did not vouch for is never handed out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

from cavalcade.kernel.ids import ProjectId, TreeId

Status = Literal["ready", "proving", "claimed", "sealing", "making", "elsewhere", "dirty"]
"""`ready`: sealed, nobody uses it. `proving`: looked through for a claim. `sealing`: given back clean. `elsewhere`: another process
has it. `dirty`: it goes."""
_OURS = ("proving", "claimed", "sealing", "making")


class Key(NamedTuple):
    """Workspaces that can take each other's place: of one project, laid out in the same way."""

    project: ProjectId
    layout: str


class Bounds(NamedTuple):
    """What may lie there: number of workspaces, and bytes on the disk. Those in use count, but are never refused."""

    slots: int
    size_bytes: int


@dataclass(frozen=True)
class Slot:
    """`key` and `tree` are None where they aren't known. `used` orders slots by when they were used last."""

    name: str
    status: Status
    key: Key | None = None
    tree: TreeId | None = None
    size_bytes: int = 0
    used: int = 0
    claim: int = 0


def _no_slots() -> Mapping[str, Slot]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Pool:
    bounds: Bounds
    slots: Mapping[str, Slot] = field(default_factory=_no_slots)

    @property
    def size_bytes(self) -> int:
        return sum(slot.size_bytes for slot in self.slots.values())


class Look(NamedTuple):
    """All that lies on the disk. What this process has in its own hands stays as it knows it."""

    found: tuple[Slot, ...]


class Claim(NamedTuple):
    """Somebody needs a workspace; `number` tells claims apart."""

    number: int
    key: Key
    tree: TreeId


class Proven(NamedTuple):
    """The slot that a claim chose is held now, and holds `tree`: what its note says, whatever it said when it was looked at before."""

    name: str
    tree: TreeId


class NotProven(NamedTuple):
    """It does not, or (`taken`) another process was faster. `again` is the claim that still needs one."""

    name: str
    taken: bool
    again: Claim


class LaidOut(NamedTuple):
    """A new slot was made for a claim: it is in use."""

    slot: Slot


class Return(NamedTuple):
    """`clean`: its user vouches that nothing but reading was done there. Only then is it kept."""

    name: str
    clean: bool
    size_bytes: int


class Sealed(NamedTuple):
    """What was given back or made lies ready."""

    slot: Slot


class Gone(NamedTuple):
    """It is not there any more."""

    name: str


class Wanted(NamedTuple):
    """So many should be ready before they are asked for."""

    key: Key
    tree: TreeId
    at_least: int


class Making(NamedTuple):
    slot: Slot


class Rebound(NamedTuple):
    bounds: Bounds


Command = Look | Claim | Proven | NotProven | LaidOut | Return | Sealed | Gone | Wanted | Making | Rebound


class Prove(NamedTuple):
    """Look through it; then Proven or NotProven."""

    name: str
    claim: Claim


class Use(NamedTuple):
    """Hand it out: it holds tree `was`."""

    name: str
    was: TreeId
    claim: int


class LayOut(NamedTuple):
    """None is ready: make one for the claim."""

    claim: Claim


class Seal(NamedTuple):
    """Note what it holds; then Sealed."""

    name: str


class Discard(NamedTuple):
    """Remove it; then Gone."""

    name: str


class Make(NamedTuple):
    """Lay one out that nobody asked for yet."""

    key: Key
    tree: TreeId


Effect = Prove | Use | LayOut | Seal | Discard | Make


def decide(pool: Pool, command: Command) -> tuple[Pool, list[Effect]]:
    """The pool afterwards, and what is to be done, in order. Commands that speak of a slot that isn't so far change nothing."""
    effects: list[Effect] = []
    match command:
        case Look(found):
            pool, effects = _seen(pool, found)
        case Claim():
            pool, effects = _choose(pool, command)
        case Proven(name, tree) if slot := _at(pool, name, "proving"):
            pool, effects = _with(pool, replace(slot, status="claimed", tree=tree)), [Use(name, tree, slot.claim)]
        case NotProven(name, taken, again) if slot := _at(pool, name, "proving"):
            pool = _with(pool, replace(slot, status="elsewhere" if taken else "dirty"))
            pool, effects = _choose(pool, again)
            effects = effects if taken else [Discard(name), *effects]
        case LaidOut(slot) if not _in_hand(pool, slot.name):
            pool = _with(pool, replace(slot, status="claimed"))
        case Return(name, clean, size_bytes) if slot := _at(pool, name, "claimed"):
            kept = clean and size_bytes <= pool.bounds.size_bytes and pool.bounds.slots > 0
            pool = _with(pool, replace(slot, status="sealing" if kept else "dirty", size_bytes=size_bytes))
            effects = [Seal(name) if kept else Discard(name)]
        case Making(slot) if not _in_hand(pool, slot.name):
            pool = _with(pool, replace(slot, status="making"))
        case Sealed(slot) if _at(pool, slot.name, "sealing") or _at(pool, slot.name, "making"):
            pool = _with(pool, replace(slot, status="ready"))
        case Gone(name):
            pool = _without(pool, name)
        case Wanted():
            effects = list(_missing(pool, command))
        case Rebound(bounds):
            pool = replace(pool, bounds=bounds)
        case _:
            return pool, effects
    pool, trimmed = _trimmed(pool)
    return pool, [*effects, *trimmed]


def _seen(pool: Pool, found: Iterable[Slot]) -> tuple[Pool, list[Effect]]:
    """What a killed process left goes. What was ordered to go stays so until it is gone, whatever still lies there."""
    slots: dict[str, Slot] = {name: slot for name, slot in pool.slots.items() if slot.status in _OURS}
    effects: list[Effect] = []
    for slot in found:
        known = pool.slots.get(slot.name)
        if known is not None and known.status == "dirty":
            slots[slot.name] = known
        elif slots.setdefault(slot.name, slot) is slot and slot.status == "dirty":
            effects.append(Discard(slot.name))
    return replace(pool, slots=MappingProxyType(slots)), effects


def _choose(pool: Pool, claim: Claim) -> tuple[Pool, list[Effect]]:
    """One that holds the tree before one that must be moved there, then the one used last."""
    fitting = [slot for slot in pool.slots.values() if slot.status == "ready" and slot.key == claim.key]
    if not fitting:
        return pool, [LayOut(claim)]
    best = max(fitting, key=lambda slot: (slot.tree == claim.tree, slot.used, slot.name))
    chosen = replace(best, status="proving", claim=claim.number)
    return _with(pool, chosen), [Prove(best.name, claim)]


def _missing(pool: Pool, wanted: Wanted) -> Iterator[Make]:
    """Never so many that another would have to go for them."""
    alike = [slot for slot in pool.slots.values() if slot.key == wanted.key and slot.status in ("ready", "making")]
    known = max((slot.size_bytes for slot in pool.slots.values() if slot.key == wanted.key), default=0)
    room = pool.bounds.slots - len(pool.slots)
    space = pool.bounds.size_bytes - pool.size_bytes
    for number in range(wanted.at_least - len(alike)):
        if number < room and (number + 1) * known <= space:
            yield Make(wanted.key, wanted.tree)


def _trimmed(pool: Pool) -> tuple[Pool, list[Effect]]:
    """What is over the bounds goes: of those that are ready the one that was used longest ago first; what is dirty counts as gone."""
    kept = [slot for slot in pool.slots.values() if slot.status != "dirty"]
    slots, size_bytes = len(kept), sum(slot.size_bytes for slot in kept)
    effects: list[Effect] = []
    changed = dict(pool.slots)
    for slot in sorted(kept, key=lambda slot: (slot.used, slot.name)):
        if slots <= pool.bounds.slots and size_bytes <= pool.bounds.size_bytes:
            break
        if slot.status == "ready":
            changed[slot.name] = replace(slot, status="dirty")
            effects.append(Discard(slot.name))
            slots, size_bytes = slots - 1, size_bytes - slot.size_bytes
    return replace(pool, slots=MappingProxyType(changed)), effects


def _in_hand(pool: Pool, name: str) -> bool:
    return name in pool.slots and pool.slots[name].status in _OURS


def _at(pool: Pool, name: str, status: Status) -> Slot | None:
    slot = pool.slots.get(name)
    return slot if slot is not None and slot.status == status else None


def _with(pool: Pool, slot: Slot) -> Pool:
    return replace(pool, slots=MappingProxyType({**pool.slots, slot.name: slot}))


def _without(pool: Pool, name: str) -> Pool:
    return replace(pool, slots=MappingProxyType({key: slot for key, slot in pool.slots.items() if key != name}))
