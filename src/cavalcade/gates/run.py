"""Runs gates side by side, and runs a receipt again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from cavalcade.content.port import TreeReader
from cavalcade.gates.port import Gate, Judgement, Question
from cavalcade.kernel.canonical import digest_of
from cavalcade.kernel.clock import Clock
from cavalcade.protocol.receipt import Finding, Receipt, Verdict

MAX_FINDINGS = 50
"""Kept in a receipt, so that it stays small in the ledger; the digest covers all."""


async def judge(gates: Sequence[Gate], question: Question, reader: TreeReader, clock: Clock) -> list[Receipt]:
    """One receipt per gate, in their order. Durations overlap, for the gates run concurrently.

    Raises what a gate raises when no verdict can be reached: then there is none, and the change must not land.
    """
    return list(await asyncio.gather(*(_ask(gate, question, reader, clock) for gate in gates)))


async def rejudge(receipt: Receipt, reader: TreeReader, gates: Iterable[Gate], clock: Clock) -> Receipt:
    """The receipt's question asked again. A gate that isn't among `gates` gives a `skipped` receipt, which `same` never accepts."""
    question = Question(receipt.before, receipt.after, receipt.paths, receipt.config)
    for gate in gates:
        if gate.name == receipt.gate:
            return await _ask(gate, question, reader, clock)
    unknown = Judgement("skipped", (), f"no gate named {receipt.gate!r} here")
    return _receipt(receipt.gate, ("", ""), question, unknown, 0.0)


def same(receipt: Receipt, again: Receipt) -> bool:
    """Whether the same tool in the same version came to the same result."""
    return not difference(receipt, again)


def difference(receipt: Receipt, again: Receipt) -> str:
    """Why `again` does not confirm `receipt`, in one line; empty when it does."""
    if not again.tool:
        return again.summary
    if (receipt.tool, receipt.version) != (again.tool, again.version):
        return f"{receipt.gate} was judged by {receipt.tool} {receipt.version}, here is {again.tool} {again.version}"
    if receipt.verdict != again.verdict:
        return f"{receipt.gate} {receipt.verdict} then and {again.verdict} now"
    if receipt.result_digest != again.result_digest:
        return f"{receipt.gate} has other findings now"
    return ""


def result_digest(verdict: Verdict, findings: Iterable[Finding]) -> str:
    """SHA-256 over the canonical bytes of verdict and findings; their order doesn't matter."""
    rows = [[f.path, f.line, f.column, f.code, f.message] for f in sorted(findings, key=_place)]
    return digest_of([verdict, rows])


async def _ask(gate: Gate, question: Question, reader: TreeReader, clock: Clock) -> Receipt:
    config = config_of(gate.name, question.config)
    own = Question(question.before, question.after, tuple(sorted(set(question.paths))), config)
    started = clock.monotonic_s()
    judgement = await gate.judge(own, reader)
    elapsed_ms = (clock.monotonic_s() - started) * 1000
    return _receipt(gate.name, gate.tool(), own, judgement, elapsed_ms)


def config_of(gate: str, config: Mapping[str, str]) -> dict[str, str]:
    """The part of a configuration that `gate` may see: its own keys and the common ones."""
    return {key: text for key, text in sorted(config.items()) if "." not in key or key.startswith(f"{gate}.")}


def _receipt(gate: str, tool: tuple[str, str], question: Question, judgement: Judgement, duration_ms: float) -> Receipt:
    findings = sorted((_encodable(f) for f in judgement.findings), key=_place)
    return Receipt(
        gate=gate,
        tool=tool[0],
        version=tool[1],
        before=question.before,
        after=question.after,
        paths=question.paths,
        config=dict(question.config),
        verdict=judgement.verdict,
        result_digest=result_digest(judgement.verdict, findings),
        duration_ms=round(duration_ms, 3),
        findings=tuple(findings[:MAX_FINDINGS]),
        more_findings=max(0, len(findings) - MAX_FINDINGS),
        summary=judgement.summary,
    )


def _place(finding: Finding) -> tuple[str, int, int, str, str]:
    return finding.path, finding.line, finding.column, finding.code, finding.message


def _encodable(finding: Finding) -> Finding:
    """Lone surrogates, which source text may hold and UTF-8 can't, become escapes."""
    if finding.path.isascii() and finding.message.isascii():
        return finding
    path, message = (t.encode("utf-8", "backslashreplace").decode() for t in (finding.path, finding.message))
    return Finding(path=path, line=finding.line, column=finding.column, code=finding.code, message=message)
