"""Gate verdicts that can be executed again."""

from __future__ import annotations

from typing import Literal

from cavalcade.kernel.ids import BlobId, TreeId
from cavalcade.protocol.plan import Struct

Verdict = Literal["passed", "failed", "skipped"]


class Finding(Struct, frozen=True):
    """`line` and `column` from 1, 0 when the finding is about the whole file."""

    path: str
    line: int = 0
    column: int = 0
    code: str = ""
    message: str = ""


class Receipt(Struct, frozen=True):
    """A verdict with everything needed to reach it again: gate, tool and version, both trees, paths, configuration.

    `result_digest` covers verdict and findings (for tests: the outcome of each test id), never durations. `details` names a blob
    in the content store with what is too long for the ledger.
    """

    gate: str
    tool: str
    version: str
    before: TreeId
    after: TreeId
    paths: tuple[str, ...]
    config: dict[str, str]
    verdict: Verdict
    result_digest: str
    duration_ms: float
    findings: tuple[Finding, ...] = ()
    more_findings: int = 0
    details: BlobId | None = None
    summary: str = ""
