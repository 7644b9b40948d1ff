"""Gate `lint`: no finding of ruff's error rules (undefined and unused names, broken formats) that was not there before."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping

from cavalcade.content.port import TreeReader
from cavalcade.gates.change import FileChange, changed_files, is_python, is_regular, setting
from cavalcade.gates.port import Judgement, Question, from_findings
from cavalcade.gates.ruff import Hit, Ruff, Source, kind_of
from cavalcade.protocol.receipt import Finding

DEFAULT_PYTHON = "3.13"
_SIMILAR = 0.5
"""Share of common text from which a changed line counts as the same line edited."""
_WORD = re.compile(r"\w+")


class LintGate:
    """Settings: `lint.python` the version the project runs on (`3.11`); `lint.renames` planned names, old to new, so that what
    was said of the old one isn't new when said of the new one; `moves`."""

    name = "lint"

    def __init__(self, ruff: Ruff | None = None) -> None:
        self._ruff = ruff or Ruff()

    def tool(self) -> tuple[str, str]:
        return "ruff", self._ruff.version()

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        python = "py" + setting(question, "lint.python", str, DEFAULT_PYTHON).replace(".", "")
        renames = setting(question, "lint.renames", dict[str, str], {})
        changes = [c for c in changed_files(question, reader) if is_python(c.path) and is_regular(c.after)]
        sides = {change.path: _sources(change, python) for change in changes}
        wanted = [source for pair in sides.values() for source in pair if source is not None]
        hits = await self._ruff.check(wanted, reader)
        findings: list[Finding] = []
        for path, (before, after) in sides.items():
            old = hits[before] if before is not None else ()
            new = hits[after] if after is not None else ()
            findings.extend(_finding(path, hit) for hit in introduced(old, new, renames) if not _is_reexport(path, hit))
        return from_findings(findings, len(changes))


def introduced(before: tuple[Hit, ...], after: tuple[Hit, ...], renames: Mapping[str, str]) -> list[Hit]:
    """Hits of `after` that have no counterpart in `before`, compared by code, message and line text, never by line number.

    A hit whose line was edited is the same one when code and message are the same and the lines are alike.
    """
    left = Counter(_identity(hit, renames) for hit in before)
    fresh: list[Hit] = []
    for hit in after:
        identity = _identity(hit, renames)
        if left[identity] > 0:
            left[identity] -= 1
        else:
            fresh.append(hit)
    gone = list(left.elements())
    return [hit for hit in fresh if not _take_alike(_identity(hit, renames), gone)]


def _is_reexport(path: str, hit: Hit) -> bool:
    """An import that a package's `__init__` doesn't use itself is what it offers to others."""
    return hit.code == "F401" and kind_of(path).startswith("__init__")


def _take_alike(identity: tuple[str, str, str], gone: list[tuple[str, str, str]]) -> bool:
    for candidate in gone:
        same_finding = candidate[:2] == identity[:2]
        if (
            same_finding
            and difflib.SequenceMatcher(None, candidate[2], identity[2], autojunk=False).ratio() >= _SIMILAR
        ):
            gone.remove(candidate)
            return True
    return False


def _identity(hit: Hit, renames: Mapping[str, str]) -> tuple[str, str, str]:
    return hit.code, _renamed(hit.message, renames), _renamed(" ".join(hit.text.split()), renames)


def _renamed(text: str, renames: Mapping[str, str]) -> str:
    return _WORD.sub(lambda word: renames.get(word[0], word[0]), text) if renames else text


def _sources(change: FileChange, python: str) -> tuple[Source | None, Source | None]:
    kind = kind_of(change.path)
    before = Source(change.before.blob, kind, python) if change.before and is_regular(change.before) else None
    after = Source(change.after.blob, kind, python) if change.after else None
    return before, after


def _finding(path: str, hit: Hit) -> Finding:
    return Finding(path=path, line=hit.line, column=hit.column, code=hit.code, message=hit.message)
