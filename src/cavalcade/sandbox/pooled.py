"""Workspaces of one project out of the pool: the rules are in `domain.pool`, what a slot is on the disk in `slot`."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from cavalcade.content.port import ContentStore
from cavalcade.domain import pool as rules
from cavalcade.domain.pool import Bounds, Key, Pool, Slot
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import Defect
from cavalcade.kernel.ids import ProjectId, TreeId
from cavalcade.sandbox import slot as disk
from cavalcade.sandbox.slot import HeldSlot, Note, Proof
from cavalcade.sandbox.workspaces import Layout, Workspace


class _Held(NamedTuple):
    slot: HeldSlot
    proof: Proof


class PooledWorkspaces:
    """`Workspaces` of `project` in `folder`, which any number of processes share. Claims are answered on one event loop.

    What can't be removed stays without a note, and the next process tries again.
    """

    def __init__(self, folder: Path, project: ProjectId, bounds: Bounds, clock: Clock, entropy: Entropy) -> None:
        self._folder = folder
        self._project = project
        self._clock, self._entropy = clock, entropy
        self._pool = Pool(bounds)
        self._held: dict[str, _Held] = {}
        self._numbers = itertools.count(1)
        self._going: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def claim(self, content: ContentStore, tree: TreeId, layout: Layout) -> AsyncGenerator[Workspace]:
        """Moved to `tree` by the difference when one of the same layout lies ready, else laid out anew."""
        name = await self._obtain(content, tree, layout)
        held = self._held[name]
        workspace = Workspace(held.slot.folder)
        try:
            yield workspace
        except BaseException:
            workspace.kept = False
            raise
        finally:
            returned = self._apply(rules.Return(name, workspace.kept, held.proof.size_bytes))
            if isinstance(returned, rules.Seal):
                await self._seal(name, tree, layout)

    async def refill(self, content: ContentStore, tree: TreeId, layout: Layout, count: int) -> int:
        """Lays out what is missing until `count` lie ready, as far as there is room; how many. Raises ContentError, OSError."""
        await self._look()
        wanted = rules.Wanted(Key(self._project, layout.name), tree, count)
        self._pool, effects = rules.decide(self._pool, wanted)
        for _ in (missing := [effect for effect in effects if isinstance(effect, rules.Make)]):
            slot = await self._new(content, tree, layout)
            self._apply(rules.Making(slot))
            await self._seal(slot.name, tree, layout)
        return len(missing)

    async def aclose(self) -> None:
        """Waits until what goes is gone."""
        await asyncio.gather(*self._going)

    async def _obtain(self, content: ContentStore, tree: TreeId, layout: Layout) -> str:
        """The name of a held slot that holds `tree`."""
        await self._look()
        claim = rules.Claim(next(self._numbers), Key(self._project, layout.name), tree)
        effect = self._apply(claim)
        while isinstance(effect, rules.Prove):
            effect = self._apply(await asyncio.to_thread(self._prove, effect.name, claim))
        match effect:
            case rules.Use(name, was):
                await self._move(content, name, was, tree, layout)
                return name
            case rules.LayOut():
                slot = await self._new(content, tree, layout)
                self._apply(rules.LaidOut(slot))
                return slot.name
            case _:
                raise Defect(f"the pool answered a claim with {effect}")

    def _prove(self, name: str, claim: rules.Claim) -> rules.Command:
        """Holds the slot if it is what its note says. Only what is read while it is held counts."""
        try:
            slot = disk.hold(self._folder / name)
        except OSError:
            return rules.NotProven(name, taken=False, again=claim)
        if slot is None:
            return rules.NotProven(name, taken=True, again=claim)
        note, proof = slot.note(), None
        with suppress(OSError):
            proof = disk.prove(slot.folder)
        if note is not None and proof is not None and note.proof == proof.digest and note.key == claim.key:
            self._held[name] = _Held(slot, proof)
            return rules.Proven(name, note.tree)
        slot.release()
        return rules.NotProven(name, taken=False, again=claim)

    async def _move(self, content: ContentStore, name: str, was: TreeId, tree: TreeId, layout: Layout) -> None:
        held = self._held[name]

        def move() -> Proof:
            held.slot.unseal()
            written = content.restore(tree, held.slot.folder, was=was, only=layout.only)
            return disk.settled(held.slot.folder) if written else held.proof

        try:
            proof = await asyncio.to_thread(move)
        except BaseException:
            self._apply(rules.Return(name, clean=False, size_bytes=0))
            raise
        self._held[name] = _Held(held.slot, proof)

    async def _new(self, content: ContentStore, tree: TreeId, layout: Layout) -> Slot:
        """A new slot, held, with the tree laid out in it."""

        def lay_out() -> _Held:
            slot = None
            while slot is None:
                slot = disk.make(self._folder, self._entropy.bytes(8).hex())
            try:
                content.restore(tree, slot.folder, only=layout.only)
                slot.folder.mkdir(exist_ok=True)
                return _Held(slot, disk.settled(slot.folder))
            except BaseException:
                with suppress(OSError):
                    slot.remove()
                slot.release()
                raise

        held = await asyncio.to_thread(lay_out)
        self._held[held.slot.path.name] = held
        return self._described(held, tree, layout)

    def _described(self, held: _Held, tree: TreeId, layout: Layout) -> Slot:
        key = Key(self._project, layout.name)
        return Slot(held.slot.path.name, "ready", key, tree, held.proof.size_bytes, self._now_ns())

    def _now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1_000_000) * 1000

    async def _seal(self, name: str, tree: TreeId, layout: Layout) -> None:
        held = self._held.pop(name)
        slot = self._described(held, tree, layout)
        note = Note(
            project=self._project,
            layout=layout.name,
            tree=tree,
            proof=held.proof.digest,
            size_bytes=slot.size_bytes,
            used_ns=slot.used,
            circumstances=disk.circumstances(),
        )
        try:
            await asyncio.to_thread(held.slot.seal, note)
        except OSError:  # no room: then it is of no use
            self._held[name] = held
            self._discard(name)
        else:
            held.slot.release()
            self._apply(rules.Sealed(slot))

    async def _look(self) -> None:
        self._apply(rules.Look(await asyncio.to_thread(look, self._folder)))

    def _apply(self, command: rules.Command) -> rules.Effect | None:
        """Discards in the background what has to go; what else is to be done."""
        self._pool, effects = rules.decide(self._pool, command)
        rest: list[rules.Effect] = []
        for effect in effects:
            if isinstance(effect, rules.Discard):
                self._discard(effect.name)
            else:
                rest.append(effect)
        return rest[0] if rest else None

    def _discard(self, name: str) -> None:
        held = self._held.pop(name, None)
        self._going.append(asyncio.create_task(self._remove(name, held.slot if held else None)))

    async def _remove(self, name: str, slot: HeldSlot | None) -> None:
        def remove() -> None:
            with suppress(OSError):
                held = slot or disk.hold(self._folder / name)
                if held is not None:
                    try:
                        held.remove()
                    finally:
                        held.release()

        await asyncio.to_thread(remove)
        self._apply(rules.Gone(name))


def look(folder: Path) -> tuple[Slot, ...]:
    """All slots of a pool, of every project. Raises OSError."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return ()
    found = (_seen(folder, name) for name in names)
    return tuple(slot for slot in found if slot is not None)


def _seen(folder: Path, name: str) -> Slot | None:
    path = folder / name
    try:
        note = disk.peek(path)
        if note is not None:
            return Slot(name, "ready", note.key, note.tree, note.size_bytes, note.used_ns)
        held = disk.hold(path)
    except OSError:
        return Slot(name, "elsewhere")  # another user's
    if held is None:
        return Slot(name, "elsewhere") if path.is_dir() else None
    held.release()
    return Slot(name, "dirty")
