"""What is appended reaches no store before its secrets are taken out, and nothing else about appending changes."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import msgspec
import pytest

import cavalcade
from cavalcade.cli.compose import System
from cavalcade.config.dotenv import read_dotenv
from cavalcade.config.paths import data_folder
from cavalcade.kernel.errors import LedgerError
from cavalcade.kernel.ids import StreamId
from cavalcade.kernel.redaction import Redactor
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.redacting import RedactingLedger, redacted_draft
from cavalcade.protocol.envelope import Draft
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts
from cavalcade.testing.ledger_conformance import LedgerConformance
from cavalcade.testing.secrets_corpus import tokens

KEY, KIND = tokens()["GitHub, classic"]
MARK = f"[redacted:{KIND}]"
A = StreamId("run/a")


class TestRedactingLedger(LedgerConformance):
    @pytest.fixture
    async def ledger(self):
        ledger = RedactingLedger(MemoryLedger(entropy=SeededEntropy(3)), Redactor({}))
        yield ledger
        await ledger.aclose()


@pytest.fixture
def drafts() -> Drafts:
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(5))


def open_ledger() -> tuple[MemoryLedger, RedactingLedger]:
    store = MemoryLedger(entropy=SeededEntropy(3))
    return store, RedactingLedger(store, Redactor({"SHOP_TOKEN": "value-of-shop-1"}))


async def test_the_store_never_sees_a_secret(drafts: Drafts) -> None:
    store, ledger = open_ledger()
    draft = msgspec.structs.replace(drafts.one(f"with {KEY} and value-of-shop-1"), subject=f"a/{KEY}", agent=KEY)
    (recorded,) = await ledger.append(A, [draft])
    assert await store.read() == [recorded]
    assert KEY not in msgspec.json.encode(recorded).decode()
    assert json.loads(bytes(recorded.event.data)) == {"note": f"with {MARK} and [redacted:configured:SHOP_TOKEN]"}
    assert (recorded.event.subject, recorded.event.agent) == (f"a/{MARK}", MARK)
    assert (recorded.event.id, recorded.event.time, recorded.event.type) == (draft.id, draft.time, draft.type)
    assert (await ledger.verify()).bad_position is None


async def test_keys_of_objects_and_json_within_json_are_searched(drafts: Drafts) -> None:
    _, ledger = open_ledger()
    inner = json.dumps({"command": f"curl -H 'PRIVATE-TOKEN: {KEY}'"})
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY)
    data = f'{{"arguments":{json.dumps(inner)},{json.dumps(KEY)}:1,"x":"{escaped}"}}'
    (recorded,) = await ledger.append(A, [msgspec.structs.replace(drafts.one(), data=msgspec.Raw(data.encode()))])
    value = json.loads(bytes(recorded.event.data))
    assert json.loads(value["arguments"]) == {"command": f"curl -H 'PRIVATE-TOKEN: {MARK}'"}
    assert value[MARK] == 1
    assert value["x"] == MARK


async def test_an_append_repeated_is_recorded_once_in_the_same_redacted_words(drafts: Drafts) -> None:
    _, ledger = open_ledger()
    draft = drafts.one(f"with {KEY}")
    first = await ledger.append(A, [draft], expected_version=0)
    assert await ledger.append(A, [draft], expected_version=0) == first
    assert await ledger.append(A, [first[0].event]) == first
    with pytest.raises(LedgerError, match="another content"):
        await ledger.append(A, [msgspec.structs.replace(draft, data=msgspec.Raw(b'{"note":"other"}'))])


def test_a_draft_without_secrets_is_the_same_object(drafts: Drafts) -> None:
    draft = drafts.one("sha256:" + "ab" * 32)
    assert redacted_draft(draft, Redactor({})) is draft


async def test_what_a_project_s_dotenv_files_set_is_recorded_nowhere(tmp_path: Path, drafts: Drafts) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / ".env").write_text("# keys\nexport SHOP_KEY='from-dotenv-1'\nPORT=8080\nDB_PASSWORD = first-one-1 # old\n")
    (shop / ".env.local").write_text("DB_PASSWORD=second-one-2\nnonsense\n")
    (shop / ".envrc").write_bytes(b"\xff\xfe")
    assert read_dotenv(shop) == {
        "SHOP_KEY": "from-dotenv-1",
        "PORT": "8080",
        "DB_PASSWORD": "first-one-1",
        ".env.local_DB_PASSWORD": "second-one-2",
    }
    store, entropy = MemoryLedger(entropy=SeededEntropy(3)), SeededEntropy(4)
    environ = {"CAVALCADE_HOME": str(tmp_path / "home"), "SHOP_TOKEN": "from-environ-3"}
    system = System(data_folder(environ), store, FakeClock(), entropy, environ)
    system.learn_secrets(shop)
    await system.ledger.append(A, [drafts.one("from-dotenv-1 first-one-1 second-one-2 from-environ-3 8080")])
    (recorded,) = await store.read()
    note = json.loads(bytes(recorded.event.data))["note"]
    assert note.split() == [
        "[redacted:configured:SHOP_KEY]",
        "[redacted:configured:DB_PASSWORD]",
        "[redacted:configured:_env_local_DB_PASSWORD]",
        "[redacted:configured:SHOP_TOKEN]",
        "8080",
    ]
    assert system.redactor.redact("from-dotenv-1").kinds == ("configured:SHOP_KEY",)


STORES = {"MemoryLedger", "SqliteLedger", "PostgresLedger", "PostgresqlLedger"}
MAY_OPEN = {
    "cli/compose.py": "wraps it",
    "cli/ledgers.py": "opens it for compose, which wraps it",
    "cli/doctor.py": "looks, and appends nothing",
    "replay/tape.py": "in memory, for as long as a replay takes",
    "cli/transfer.py": "takes in what was redacted where it was appended",
}


def test_no_other_place_of_the_program_opens_a_store() -> None:
    package = Path(cavalcade.__file__).parent
    found: set[str] = set()
    for path in package.rglob("*.py"):
        where = path.relative_to(package).as_posix()
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)
        }
        if names & STORES and not where.startswith(("ledger/", "testing/")):
            found.add(where)
    assert found <= set(MAY_OPEN), found - set(MAY_OPEN)


def test_a_draft_that_is_no_text_is_left_to_the_store_to_refuse(drafts: Drafts) -> None:
    draft: Draft = msgspec.structs.replace(drafts.one(), data=msgspec.Raw(b'{"a":"\xff"}'))
    assert redacted_draft(draft, Redactor({})) is draft
