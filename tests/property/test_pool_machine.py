"""The pool's rules against a disk that other processes, crashes and vandals write to.

Bug class this catches: a workspace handed out twice, one handed out whose content is not what was said, one that was given back dirty
and comes again, bounds that are kept by throwing away what is in use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cavalcade.domain import pool as rules
from cavalcade.domain.pool import Bounds, Key, Pool, Slot
from cavalcade.kernel.ids import ProjectId, TreeId

KEYS = st.builds(Key, st.sampled_from([ProjectId("p1"), ProjectId("p2")]), st.just("whole"))
TREES = st.sampled_from([TreeId(name) for name in ("t1", "t2", "t3")])
BOUNDS = st.builds(Bounds, st.integers(0, 4), st.integers(0, 40))
SIZES = st.integers(1, 15)
ALTERED = TreeId("altered")


@dataclass(frozen=True)
class Folder:
    """A slot as it is: `holds` is the truth, `noted` what its note says, `holder` who has it locked."""

    key: Key
    holds: TreeId
    noted: TreeId | None
    size_bytes: int
    used: int
    holder: str = ""


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(Bounds(3, 30))
        self.disk: dict[str, Folder] = {}
        self.users: dict[int, str] = {}
        self.sealing: list[str] = []
        self.going: list[str] = []
        self.time = 0
        self.claims = 0

    def tick(self) -> int:
        self.time += 1
        return self.time

    def do(self, command: rules.Command) -> rules.Effect | None:
        """What an edge does, but for discarding and sealing, which happen later."""
        self.pool, effects = rules.decide(self.pool, command)
        rest = [effect for effect in effects if not isinstance(effect, rules.Discard)]
        self.going += [effect.name for effect in effects if isinstance(effect, rules.Discard)]
        assert len(rest) <= 1
        return rest[0] if rest else None

    def new(self, key: Key, tree: TreeId, size_bytes: int) -> Slot:
        name = f"s{self.tick()}"
        self.disk[name] = Folder(key, tree, None, size_bytes, self.time, holder="us")
        return Slot(name, "ready", key, tree, size_bytes, self.time)

    @rule()
    def look(self) -> None:
        found: list[Slot] = []
        for name, folder in self.disk.items():
            if folder.noted:
                found.append(Slot(name, "ready", folder.key, folder.noted, folder.size_bytes, folder.used))
            else:
                found.append(Slot(name, "elsewhere" if folder.holder else "dirty"))
        self.do(rules.Look(tuple(found)))

    @rule(key=KEYS, tree=TREES, size_bytes=SIZES)
    def claim(self, key: Key, tree: TreeId, size_bytes: int) -> None:
        self.claims += 1
        claim = rules.Claim(self.claims, key, tree)
        effect = self.do(claim)
        while isinstance(effect, rules.Prove):
            effect = self.do(self.prove(effect.name, claim))
        if isinstance(effect, rules.Use):
            folder = self.disk[effect.name]
            assert effect.name not in self.users.values()
            assert effect.claim == claim.number
            assert (folder.key, folder.holds) == (key, effect.was), "handed out what is not what it is said to be"
            self.disk[effect.name] = replace(folder, holds=tree, noted=None)
            self.users[claim.number] = effect.name
        else:
            assert isinstance(effect, rules.LayOut)
            slot = self.new(key, tree, size_bytes)
            assert self.do(rules.LaidOut(slot)) is None
            self.users[claim.number] = slot.name

    def prove(self, name: str, claim: rules.Claim) -> rules.Command:
        folder = self.disk.get(name)
        if folder is None or folder.holder:
            return rules.NotProven(name, taken=True, again=claim)
        if folder.noted is None or folder.noted != folder.holds:
            return rules.NotProven(name, taken=False, again=claim)
        self.disk[name] = replace(folder, holder="us")
        return rules.Proven(name, folder.noted)

    @precondition(lambda self: self.users)
    @rule(data=st.data(), clean=st.booleans(), size_bytes=SIZES)
    def give_back(self, data: st.DataObject, clean: bool, size_bytes: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.users)))
        name = self.users.pop(number)
        if not clean:
            self.disk[name] = replace(self.disk[name], holds=ALTERED)
        effect = self.do(rules.Return(name, clean, size_bytes))
        if isinstance(effect, rules.Seal):
            assert clean
            self.sealing.append(name)
            self.disk[name] = replace(self.disk[name], size_bytes=size_bytes)
        else:
            assert name in self.going

    @precondition(lambda self: self.sealing)
    @rule(fails=st.sampled_from([False, False, False, True]))
    def seal(self, fails: bool) -> None:
        name = self.sealing.pop()
        folder = self.disk[name]
        if fails:
            self.going.append(name)
            return
        self.disk[name] = replace(folder, noted=folder.holds, holder="", used=self.tick())
        self.do(rules.Sealed(Slot(name, "ready", folder.key, folder.holds, folder.size_bytes, self.time)))

    @rule(key=KEYS, tree=TREES, count=st.integers(0, 3), size_bytes=SIZES, fails=st.booleans())
    def refill(self, key: Key, tree: TreeId, count: int, size_bytes: int, fails: bool) -> None:
        before = self.pool
        after, effects = rules.decide(self.pool, rules.Wanted(key, tree, count))
        assert len(effects) <= max(0, before.bounds.slots - len(before.slots))
        self.pool = after
        for effect in effects:
            assert effect == rules.Make(key, tree)
            if fails:
                self.disk.pop(self.new(key, tree, size_bytes).name)
                break
            slot = self.new(key, tree, size_bytes)
            self.do(rules.Making(slot))
            self.sealing.append(slot.name)

    @precondition(lambda self: self.going)
    @rule(resists=st.booleans())
    def discard(self, resists: bool) -> None:
        name = self.going.pop(0)
        folder = self.disk.get(name)
        if folder is not None and folder.holder != "another":
            assert name not in self.users.values()
            if resists:
                self.disk[name] = replace(folder, holds=ALTERED, noted=None, holder="")
            else:
                del self.disk[name]
        self.do(rules.Gone(name))

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def vandal(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.disk)))
        if not self.disk[name].holder:
            self.disk[name] = replace(self.disk[name], holds=ALTERED)

    @precondition(lambda self: self.disk)
    @rule(data=st.data(), tree=TREES, what=st.sampled_from(["takes", "gives back", "removes", "dies"]))
    def another_process(self, data: st.DataObject, tree: TreeId, what: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.disk)))
        folder = self.disk[name]
        if what == "takes" and not folder.holder and folder.noted == folder.holds:
            self.disk[name] = replace(folder, holder="another", noted=None)
        if folder.holder == "another":
            if what == "gives back":
                self.disk[name] = replace(folder, holds=tree, noted=tree, holder="", used=self.tick())
            elif what == "dies":
                self.disk[name] = replace(folder, holds=ALTERED, holder="")
            elif what == "removes":
                del self.disk[name]

    @rule(tree=TREES)
    def another_process_moves_all_that_lies_ready(self, tree: TreeId) -> None:
        for name, folder in self.disk.items():
            if not folder.holder and folder.noted == folder.holds:
                self.disk[name] = replace(folder, holds=tree, noted=tree, used=self.tick())

    @rule(bounds=BOUNDS)
    def change_bounds(self, bounds: Bounds) -> None:
        self.do(rules.Rebound(bounds))

    @rule()
    def crash(self) -> None:
        """The next process knows nothing; locks are gone, what was in hand has no note."""
        self.users, self.sealing, self.going = {}, [], []
        for name, folder in self.disk.items():
            if folder.holder == "us":
                self.disk[name] = replace(folder, holds=ALTERED, noted=None, holder="")
        self.pool = Pool(self.pool.bounds)

    @invariant()
    def whoever_uses_one_has_it_alone(self) -> None:
        names = list(self.users.values())
        assert len(names) == len(set(names))
        for name in names:
            assert self.pool.slots[name].status == "claimed"
            assert name not in self.going

    @invariant()
    def what_lies_ready_is_within_the_bounds(self) -> None:
        """Beyond them is only what is in use."""
        kept = [slot for slot in self.pool.slots.values() if slot.status != "dirty"]
        bounds = self.pool.bounds
        if len(kept) > bounds.slots or sum(slot.size_bytes for slot in kept) > bounds.size_bytes:
            assert all(slot.status != "ready" for slot in kept)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=40)


def ready(name: str, tree: str, used: int, size_bytes: int = 10) -> Slot:
    return Slot(name, "ready", Key(ProjectId("p1"), "whole"), TreeId(tree), size_bytes, used)


def test_the_one_that_holds_the_tree_is_taken_before_the_one_used_last() -> None:
    pool, _ = rules.decide(Pool(Bounds(5, 100)), rules.Look((ready("a", "t1", 1), ready("b", "t2", 2))))
    for tree, chosen in (("t1", "a"), ("t2", "b"), ("t3", "b")):
        claim = rules.Claim(1, Key(ProjectId("p1"), "whole"), TreeId(tree))
        assert rules.decide(pool, claim)[1] == [rules.Prove(chosen, claim)]


def test_what_was_used_longest_ago_goes_first_and_what_is_in_use_never() -> None:
    found = (ready("a", "t1", 1), ready("b", "t1", 3), ready("c", "t1", 2))
    pool, _ = rules.decide(Pool(Bounds(5, 100)), rules.Look(found))
    claim = rules.Claim(1, Key(ProjectId("p1"), "whole"), TreeId("t1"))
    pool, _ = rules.decide(pool, claim)
    pool, effects = rules.decide(pool, rules.Rebound(Bounds(2, 100)))
    assert effects == [rules.Discard("a")]
    pool, effects = rules.decide(pool, rules.Rebound(Bounds(0, 0)))
    assert effects == [rules.Discard("c")]
    assert rules.decide(pool, rules.Proven("b", TreeId("t1")))[1] == [rules.Use("b", TreeId("t1"), 1)]


def test_what_another_process_made_of_it_since_it_was_looked_at_is_what_it_holds() -> None:
    pool, _ = rules.decide(Pool(Bounds(5, 100)), rules.Look((ready("a", "t1", 1),)))
    pool, _ = rules.decide(pool, rules.Claim(1, Key(ProjectId("p1"), "whole"), TreeId("t1")))
    assert rules.decide(pool, rules.Proven("a", TreeId("t2")))[1] == [rules.Use("a", TreeId("t2"), 1)]


def test_a_claim_that_finds_only_altered_ones_gets_a_new_one() -> None:
    pool, _ = rules.decide(Pool(Bounds(5, 100)), rules.Look((ready("a", "t1", 1), ready("b", "t1", 2))))
    claim = rules.Claim(1, Key(ProjectId("p1"), "whole"), TreeId("t1"))
    pool, _ = rules.decide(pool, claim)
    pool, effects = rules.decide(pool, rules.NotProven("b", taken=False, again=claim))
    assert effects == [rules.Discard("b"), rules.Prove("a", claim)]
    pool, effects = rules.decide(pool, rules.NotProven("a", taken=True, again=claim))
    assert effects == [rules.LayOut(claim)]
