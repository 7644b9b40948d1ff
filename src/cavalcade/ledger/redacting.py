"""A ledger that takes secrets out of what is appended, before the store behind it sees a byte.

Why here, around the port, and not inside each store: this is the one place that knows of every append whatever the store, a third
store included; what is configured changes with the project and is nothing a store should know; and a store can be measured and tested
for what it is. It can't be bypassed: `cli.compose.System` wraps whatever it is given and hands out nothing else, and a test
(`tests/unit/test_ledger_redacting.py`) finds every other place of the program that would open a store.

What another ledger sealed (`ingest`) is taken in as it is: its hash is over its bytes, and its origin has redacted it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cavalcade.kernel.ids import StreamId
from cavalcade.kernel.redaction import Redactor
from cavalcade.ledger.around import LedgerAround
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft, Recorded


class RedactingLedger(LedgerAround):
    """An append repeated becomes the same redacted events, so it is as idempotent as before.

    `learn` lets what is appended from then on be searched for more; it belongs before the first append of a project.
    """

    def __init__(self, behind: Ledger, redactor: Redactor) -> None:
        super().__init__(behind)
        self.redactor = redactor

    def learn(self, configured: Mapping[str, str]) -> None:
        """More variables that may hold secrets, such as those of a project's `.env`."""
        self.redactor = self.redactor.also(configured)

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        redacted = [redacted_draft(draft, self.redactor) for draft in events]
        return await self._ledger.append(stream, redacted, expected_version=expected_version)


def redacted_draft(draft: Draft, redactor: Redactor) -> Draft:
    """The same draft when it holds no secret. Of the envelope, what people or programs put in words: subject, agent, role."""
    changes: dict[str, str | msgspec.Raw] = {}
    try:
        data = bytes(draft.data).decode()
    except UnicodeDecodeError:
        return draft  # no JSON: the store refuses it
    if (found := redactor.redact(data)).kinds:
        changes["data"] = msgspec.Raw(found.text.encode())
    for name in ("subject", "agent", "role"):
        value: str = getattr(draft, name)
        if value and (found := redactor.redact(value)).kinds:
            changes[name] = found.text
    return msgspec.structs.replace(draft, **changes) if changes else draft
