"""Gate `shrinkage`: no file loses most of its content, becomes empty or disappears unplanned."""

from __future__ import annotations

from cavalcade.content.port import TreeReader
from cavalcade.gates.change import changed_files, moves, regular_bytes, setting
from cavalcade.gates.port import Judgement, Question, from_findings
from cavalcade.protocol.receipt import Finding

RULES = "1"
DEFAULT_LIMIT = 0.8


class ShrinkageGate:
    """Settings: `shrinkage.limit` the greatest share of non-blank bytes or lines a file may lose; `shrinkage.deletions` paths
    whose removal is planned; `moves` new path to old path."""

    name = "shrinkage"

    def tool(self) -> tuple[str, str]:
        return "cavalcade-shrinkage", RULES

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        limit = setting(question, "shrinkage.limit", float, DEFAULT_LIMIT)
        planned = set(setting(question, "shrinkage.deletions", list[str], []))
        after_tree = reader.entries(question.after)
        planned.update(old for new, old in moves(question).items() if new in after_tree)
        findings: list[Finding] = []
        files = changed_files(question, reader)
        for change in files:
            before = regular_bytes(change.before, reader)
            if before is None:
                continue
            if change.after is None:
                if change.path not in planned:
                    findings.append(Finding(path=change.path, code="deleted", message="the file is removed, unplanned"))
                continue
            after = regular_bytes(change.after, reader)
            loss = _loss(before, after or b"", limit)
            if loss:
                findings.append(Finding(path=change.path, code=loss[0], message=loss[1]))
        return from_findings(findings, len(files))


def _loss(before: bytes, after: bytes, limit: float) -> tuple[str, str] | None:
    old_bytes, old_lines = _measure(before)
    new_bytes, new_lines = _measure(after)
    if old_bytes and not new_bytes:
        return "emptied", f"all {old_lines} lines are gone"
    for old, new, unit in ((old_bytes, new_bytes, "non-blank bytes"), (old_lines, new_lines, "non-blank lines")):
        if old and (old - new) / old > limit:
            return "shrunk", f"{old} {unit} became {new}, a loss of more than {limit:.0%}"
    return None


def _measure(data: bytes) -> tuple[int, int]:
    """Bytes that are not white space, and lines that hold any."""
    lines = data.split(b"\n")
    return len(b"".join(data.split())), sum(1 for line in lines if not line.isspace() and line)
