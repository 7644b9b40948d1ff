"""What a gate is: a pure function of two trees, the paths that differ and a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cavalcade.content.port import TreeReader
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol.receipt import Finding, Verdict


@dataclass(frozen=True)
class Question:
    """Is the step from `before` to `after` acceptable?

    `paths` are the changed paths, both ends of a move included. `config` maps keys to canonical JSON text. A key `<gate>.<key>`
    is for that gate alone; a key without a dot (`moves`) is for all.
    """

    before: TreeId
    after: TreeId
    paths: tuple[str, ...]
    config: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Judgement:
    """`findings` say what speaks against the change, in any order; `summary` is one line for people, outside the digest."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    summary: str = ""


class Gate(Protocol):
    """A deterministic check. It reads nothing but the trees and the question: the same question always gets the same answer."""

    @property
    def name(self) -> str: ...

    def tool(self) -> tuple[str, str]:
        """What decides, and its version: another version may decide otherwise. Raises ToolFailed when it isn't there."""
        ...

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        """Raises ObjectMissing, ToolFailed (no verdict could be reached), UsageError (a configuration it can't read)."""
        ...


def from_findings(findings: list[Finding], looked_at: int, noun: str = "file") -> Judgement:
    """Fails when there is any finding."""
    plural = "" if looked_at == 1 else "s"
    if not findings:
        return Judgement("passed", (), f"{looked_at} {noun}{plural}, nothing found")
    count = len(findings)
    return Judgement(
        "failed", tuple(findings), f"{count} finding{'' if count == 1 else 's'} in {looked_at} {noun}{plural}"
    )
