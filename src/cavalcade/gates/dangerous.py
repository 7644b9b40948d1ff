"""Gate `dangerous`: no dangerous pattern that was not in the file before.

Counted per file and pattern, so that what stood there may be edited, and found again by its line's text when a function moves
from one file of the edit to another. In Python, comments and strings are no code; secrets count everywhere.
"""

from __future__ import annotations

import platform
from collections import Counter, OrderedDict
from typing import NamedTuple

from cavalcade.content.port import Entry, TreeReader
from cavalcade.gates.change import FileChange, changed_files, is_python, is_regular
from cavalcade.gates.patterns import PATTERNS, TEXT_PATTERNS, Language
from cavalcade.gates.port import Judgement, Question, from_findings
from cavalcade.gates.python_patterns import find_in_python
from cavalcade.kernel.ids import BlobId
from cavalcade.protocol.receipt import Finding

RULES = "1"
_REMEMBERED = 4096
_DOCUMENTS = (".md", ".rst", ".txt", ".adoc", ".html", ".po", ".pot", ".svg", ".csv", ".tsv")
_JAVASCRIPT = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".vue", ".svelte")


class Match(NamedTuple):
    pattern: str
    line: int
    column: int
    text: str
    """The line without white space around it."""


class DangerousGate:
    """Setting: `moves`."""

    name = "dangerous"

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[BlobId, str], tuple[Match, ...] | None] = OrderedDict()

    def tool(self) -> tuple[str, str]:
        return "cavalcade-dangerous", f"{RULES} (Python {platform.python_version()})"

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        changes = changed_files(question, reader)
        fresh: list[tuple[str, Match]] = []
        for change in changes:
            before, after = self._sides(change, reader)
            fresh.extend((change.path, match) for match in _grown(before, after))
        lost = self._lost(changes, reader) if fresh else Counter[tuple[str, str]]()
        findings: list[Finding] = []
        for path, match in fresh:
            if lost[match.pattern, match.text] > 0:
                lost[match.pattern, match.text] -= 1
            else:
                findings.append(_finding(path, match))
        return from_findings(findings, len(changes))

    def _lost(self, changes: list[FileChange], reader: TreeReader) -> Counter[tuple[str, str]]:
        """What the edit takes away, by pattern and line text."""
        lost: Counter[tuple[str, str]] = Counter()
        for change in changes:
            after, before = self._sides(FileChange(change.path, change.after, change.before), reader)
            lost.update((match.pattern, match.text) for match in _grown(after, before))
        return lost

    def _sides(self, change: FileChange, reader: TreeReader) -> tuple[tuple[Match, ...], tuple[Match, ...]]:
        """Matches before and after, by the same method: as long as one of them isn't valid Python, both are read as text.

        Nothing after means nothing to find, and `before` is left unread.
        """
        language = language_of(change.path)
        if language == "python":
            after = self._of(change.after, language, reader)
            before = self._of(change.before, language, reader) if after != () else ()
            if before is not None and after is not None:
                return before, after
            language = "python-text"
        return self._of(change.before, language, reader) or (), self._of(change.after, language, reader) or ()

    def _of(self, entry: Entry | None, language: str, reader: TreeReader) -> tuple[Match, ...] | None:
        return self._matches(entry.blob, language, reader) if entry is not None and is_regular(entry) else ()

    def _matches(self, blob: BlobId, language: str, reader: TreeReader) -> tuple[Match, ...] | None:
        key = (blob, language)
        if key not in self._known:
            self._known[key] = find(reader.read(blob), language)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]


def language_of(path: str) -> str:
    """`python`, `javascript`, `document` or `shell` (anything else that may be run)."""
    if is_python(path):
        return "python"
    folded = path.lower()
    if folded.endswith(_JAVASCRIPT):
        return "javascript"
    return "document" if folded.endswith(_DOCUMENTS) else "shell"


def find(data: bytes, language: str) -> tuple[Match, ...] | None:
    """Every dangerous pattern in a file. None for `python` that can't be parsed: ask again with `python-text`."""
    text = data.decode("utf-8", "replace")
    lines = text.splitlines() if language != "python" else text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[Match] = []
    if language == "python":
        places = find_in_python(data)
        if places is None:
            return None
        found.extend(Match(p.pattern, p.line, p.column, _line(lines, p.line)) for p in places)
    for language_of_pattern in _applicable(language):
        for pattern in TEXT_PATTERNS:
            if pattern.language != language_of_pattern or not any(hint in text for hint in pattern.hints):
                continue
            if pattern.expression.search(text) is None:
                continue
            for number, line in enumerate(lines, 1):
                found.extend(
                    Match(pattern.id, number, m.start() + 1, line.strip()) for m in pattern.expression.finditer(line)
                )
    return tuple(found)


def _applicable(language: str) -> tuple[Language, ...]:
    if language == "shell":
        return ("any", "shell")
    if language == "javascript":
        return ("any", "shell", "javascript")
    return ("any", "python-text", "shell") if language == "python-text" else ("any",)


def _grown(before: tuple[Match, ...], after: tuple[Match, ...]) -> list[Match]:
    """The matches by which `after` has more of a pattern than `before`: those on lines that weren't there come first."""
    old = Counter(match.pattern for match in before)
    new = Counter(match.pattern for match in after)
    known = Counter((match.pattern, match.text) for match in before)
    fresh: list[Match] = []
    familiar: list[Match] = []
    for match in after:
        if known[match.pattern, match.text] > 0:
            known[match.pattern, match.text] -= 1
            familiar.append(match)
        else:
            fresh.append(match)
    excess = new - old
    grown: list[Match] = []
    for match in [*fresh, *familiar]:
        if excess[match.pattern] > 0:
            excess[match.pattern] -= 1
            grown.append(match)
    return grown


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def _finding(path: str, match: Match) -> Finding:
    pattern = PATTERNS[match.pattern]
    return Finding(
        path=path, line=match.line, column=match.column, code=pattern.id, message=f"{pattern.what}: {pattern.why}"
    )
