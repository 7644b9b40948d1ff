"""Gate `fence`: only what may be written is written, and nothing that is dangerous to check out.

It does not trust the caller's list of paths: every difference between the two trees is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cavalcade.content.port import Entry, TreeReader
from cavalcade.gates import paths
from cavalcade.gates.change import GITLINK_MODE, REGULAR_MODES, SYMLINK_MODE, setting
from cavalcade.gates.port import Judgement, Question, from_findings
from cavalcade.protocol.receipt import Finding

RULES = "1"


class FenceGate:
    """Setting `fence.allowed`: exact paths and `dir/**`; nothing is allowed without it. Git settings, CI, lock files and
    secrets must be named exactly."""

    name = "fence"

    def tool(self) -> tuple[str, str]:
        return "cavalcade-fence", RULES

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        before, after = reader.entries(question.before), reader.entries(question.after)
        allowed = frozenset(setting(question, "fence.allowed", list[str], []))
        findings = [
            Finding(path=path, code="malformed-path", message=f"the path {why}")
            for path in sorted(set(question.paths))
            if (why := paths.malformed(path))
        ]
        changed = sorted(difference(before, after))
        for path in changed:
            findings.extend(_of_path(path, before.get(path), after.get(path), allowed))
        new = [path for path in changed if path in after and path not in before]
        if new:
            findings.extend(_of_names(new, after))
        if any(SYMLINK_MODE in (_mode(path, before), _mode(path, after)) for path in changed):
            findings.extend(_of_links(frozenset(changed), before, after, reader))
        return from_findings(list(dict.fromkeys(findings)), len(changed), "path")


def difference(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Iterator[str]:
    """Paths whose entries differ."""
    if before is after:
        return
    yield from (path for path, entry in after.items() if before.get(path) != entry)
    yield from (path for path in before if path not in after)


def _of_path(path: str, old: Entry | None, new: Entry | None, allowed: frozenset[str]) -> Iterator[Finding]:
    if why := paths.malformed(path):
        yield Finding(path=path, code="malformed-path", message=f"the path {why}")
    if not paths.matches(path, allowed):
        yield Finding(path=path, code="outside-fence", message="not among the paths that may be written")
    elif path not in allowed and (kind := paths.protection(path)):
        yield Finding(
            path=path, code="protected", message=f"protected ({kind}): may be written only when named exactly"
        )
    if new is not None and (problem := _mode_problem(path, old, new)):
        yield problem


def _mode_problem(path: str, old: Entry | None, new: Entry) -> Finding | None:
    if new.mode == GITLINK_MODE:
        return Finding(path=path, code="gitlink", message="becomes or moves a submodule")
    if new.mode not in (*REGULAR_MODES, SYMLINK_MODE):
        return Finding(path=path, code="mode", message=f"has mode {new.mode:o}, which git does not write")
    if new.mode == SYMLINK_MODE and old is not None and old.mode != SYMLINK_MODE:
        return Finding(path=path, code="became-symlink", message="a file becomes a symlink")
    return None


def _of_names(new: list[str], after: Mapping[str, Entry]) -> Iterator[Finding]:
    for path, other in paths.collisions(new, after).items():
        yield Finding(path=path, code="collision", message=f"can be taken for {other!r}")
    for path in new:
        if paths.has_invisible(path):
            yield Finding(path=path, code="invisible-characters", message=f"has invisible characters: {path!a}")
        elif paths.mixes_scripts(path):
            yield Finding(path=path, code="mixed-scripts", message=f"mixes alphabets in one name: {path!a}")


def _of_links(
    changed: frozenset[str], before: Mapping[str, Entry], after: Mapping[str, Entry], reader: TreeReader
) -> Iterator[Finding]:
    """Also unchanged symlinks are looked at, for a changed one may lead them elsewhere."""
    old, new = _links(before, reader), _links(after, reader)
    for path in new:
        problem = paths.link_problem(path, new)
        if problem and (path in changed or not paths.link_problem(path, old)):
            yield Finding(path=path, code="symlink", message=f"the symlink {problem}: {new[path]!r}")


def _links(entries: Mapping[str, Entry], reader: TreeReader) -> dict[str, str]:
    return {
        path: reader.read(entry.blob).decode("utf-8", "surrogateescape")
        for path, entry in entries.items()
        if entry.mode == SYMLINK_MODE
    }


def _mode(path: str, entries: Mapping[str, Entry]) -> int:
    entry = entries.get(path)
    return entry.mode if entry is not None else 0
