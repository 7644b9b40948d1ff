"""Candidate-driven resolution: every occurrence of a word is found by search, judged by syntax, confirmed by the resolvers.

Nothing that carries the word is lost: what nobody can place ends under `unknown`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cavalcade.kernel.errors import ServerGone
from cavalcade.terrain.files import Files
from cavalcade.terrain.judges import Judge, callee_of
from cavalcade.terrain.resolvers import Resolver, Spot
from cavalcade.terrain.tokens import Token


@dataclass
class Findings:
    """Occurrences of a word by what they are.

    `same`: certainly the symbol. `other`: certainly not. `unknown`: code that may mean it, with the reason why nobody can say.
    `text`: strings, comments, docstrings. `broken`: code in files with syntax errors. `silent` names resolvers that failed.
    """

    same: list[Token] = field(default_factory=list[Token])
    other: list[Token] = field(default_factory=list[Token])
    unknown: list[tuple[Token, str]] = field(default_factory=list[tuple[Token, str]])
    text: list[Token] = field(default_factory=list[Token])
    broken: list[Token] = field(default_factory=list[Token])
    silent: dict[str, str] = field(default_factory=dict[str, str])


class Search:
    """One search for the references of a symbol by its word. `meanwhile` is work for the time a resolver takes to answer."""

    def __init__(
        self, files: Files, first: Resolver, second: Resolver, meanwhile: Callable[[], object] | None = None
    ) -> None:
        self._files = files
        self._first = first
        self._second = second
        self._meanwhile = meanwhile
        self._findings = Findings()

    async def run(self, word: str, judge: Judge, asked: Iterable[Spot], known: Iterable[Spot]) -> Findings:
        """`known` are where the symbol (and its family) is defined; for those `asked` a resolver lists all references."""
        found = self._findings
        await self._start()
        tasks = [asyncio.create_task(self._references(spot)) for spot in asked]
        await asyncio.sleep(0)
        doubtful: list[tuple[Token, bool]] = []
        for path in self._files.python_with(word):
            await asyncio.sleep(0)
            self._judge_file(path, word, judge, doubtful)
        if self._meanwhile is not None and not all(task.done() for task in tasks):
            self._meanwhile()
        confirmed = set[Spot]().union(*await asyncio.gather(*tasks))
        targets = confirmed | set(known) | {Spot(token.path, token.start) for token in found.same}
        await self._settle(doubtful, confirmed, targets)
        self._follow_strings(confirmed)
        return found

    async def _start(self) -> None:
        """The first resolver is at work before this process is: its questions must be out before the search begins."""
        try:
            await self._first.ready()
        except ServerGone as exc:
            self._findings.silent[self._first.name] = exc.what

    def _judge_file(self, path: str, word: str, judge: Judge, doubtful: list[tuple[Token, bool]]) -> None:
        file = self._files.python(path)
        for token in file.tokens(word):
            if not token.is_code:
                self._findings.text.append(token)
            elif file.facts.problems:
                self._findings.broken.append(token)
            else:
                verdict = judge.judge(token)
                if verdict in {"same", "other"}:
                    (self._findings.same if verdict == "same" else self._findings.other).append(token)
                else:
                    doubtful.append((token, verdict == "outside"))

    async def _references(self, spot: Spot) -> set[Spot]:
        try:
            return set(await self._first.references(*spot))
        except ServerGone as exc:
            self._findings.silent[self._first.name] = exc.what
            return set()

    async def _settle(self, doubtful: list[tuple[Token, bool]], confirmed: set[Spot], targets: set[Spot]) -> None:
        open_ones = [(t, o) for t, o in doubtful if Spot(t.path, t.start) not in confirmed]
        self._findings.same.extend(t for t, _ in doubtful if Spot(t.path, t.start) in confirmed)
        doubted = {Spot(token.path, token.start) for token, _ in open_ones}
        for resolver in (self._first, self._second):
            answers = await asyncio.gather(*(self._ask(resolver, token) for token, _ in open_ones))
            left: list[tuple[Token, bool]] = []
            for (token, outside), answer in zip(open_ones, answers, strict=True):
                spots = answer - doubted
                if not spots:
                    left.append((token, outside))
                elif spots <= targets:
                    self._findings.same.append(token)
                elif spots & targets:
                    self._findings.unknown.append(
                        (token, f"{resolver.name} finds it to mean the symbol or something else")
                    )
                else:
                    self._findings.other.append(token)
            open_ones = [(token, outside) for token, outside in left if not outside]
            self._findings.other.extend(token for token, outside in left if outside)
        self._findings.unknown.extend((token, "its type is not known") for token, _ in open_ones)

    async def _ask(self, resolver: Resolver, token: Token) -> set[Spot]:
        try:
            spots = await resolver.definitions(token.path, token.start)
            if token.role == "keyword":
                spots = tuple(spot for spot in spots if self._has_word(spot, token))
                callee = callee_of(token) if not spots else None
                if callee is not None:
                    spots = self._callables(await resolver.definitions(token.path, callee.end_byte - 1))
        except ServerGone as exc:
            self._findings.silent[resolver.name] = exc.what
            return set()
        return set(spots)

    def _callables(self, spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
        """The spots when all of them are functions, or lie outside the tree: anything else may hold any function."""
        for spot in spots:
            if spot.start >= 0 and not self._is_function(spot):
                return ()
        return spots

    def _has_word(self, spot: Spot, token: Token) -> bool:
        """A keyword's definition is a name of the same word; for an unknown callee a resolver may answer with the callee itself."""
        source = self._files.text(spot.path) if spot.start >= 0 else None
        word = self._files.python(token.path).source.body[token.start : token.end]
        return source is None or source.body[spot.start : spot.start + len(word)] == word

    def _is_function(self, spot: Spot) -> bool:
        file = self._files.python(spot.path)
        node = file.tree.root_node.descendant_for_byte_range(spot.start, spot.start + 1)
        holder = node.parent if node is not None else None
        return (
            holder is not None and holder.type == "function_definition" and holder.child_by_field_name("name") == node
        )

    def _follow_strings(self, confirmed: set[Spot]) -> None:
        """Text that a resolver takes for a reference (a string annotation, a type comment) is one."""
        kept: list[Token] = []
        for token in self._findings.text:
            target = self._findings.same if Spot(token.path, token.start) in confirmed else kept
            target.append(token)
        self._findings.text = kept
