"""An installation's key and when it signs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.errors import LedgerError, LedgerUnwritable
from cavalcade.kernel.ids import OriginId, StreamId, node_stream
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.ledger.signing import WINDOW, SigningKey, SigningLedger, load_key, signature_holds
from cavalcade.protocol.events import HeadSigned, decode
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import CrashingLedger
from cavalcade.testing.events import Drafts

RUN = StreamId("run/a")


def drafts() -> Drafts:
    return Drafts(FakeClock(tick_s=0.001), SeededEntropy(5))


def signing(
    ledger: Ledger, *, interval: int = 1000, key: Callable[[], SigningKey] = lambda: SigningKey(b"1" * 32)
) -> SigningLedger:
    return SigningLedger(ledger, key, FakeClock(tick_s=0.001), SeededEntropy(6), interval=interval)


async def signed_seqs(ledger: Ledger) -> list[int]:
    signed = [decode(event.event) for event in await ledger.read(stream=node_stream(ledger.origin))]
    return [head.seq for head in signed if isinstance(head, HeadSigned) and signature_holds(head)]


class Overtaken(SigningLedger):
    """Others record something between the first look at the heads and what follows it. Signs nothing itself."""

    def __init__(self, ledger: Ledger, overtake: Callable[[], Awaitable[None]]) -> None:
        super().__init__(ledger, lambda: SigningKey(b"1" * 32), FakeClock(), SeededEntropy(6), interval=1 << 30)
        self._overtake: Callable[[], Awaitable[None]] | None = overtake

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        heads = await super().heads()
        overtake, self._overtake = self._overtake, None
        if overtake is not None:
            await overtake()
        return heads


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "signing-key"
    made = load_key(path, SeededEntropy(1))
    assert load_key(path, SeededEntropy(2)).public == made.public
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_who_make_the_key_at_once_one_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(10) as threads:
        made = threads.map(load_key, [tmp_path / "signing-key"] * 40, map(SeededEntropy, range(40)))
    assert len({key.public for key in made}) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_the_key_is_that_of_the_rfc() -> None:
    """RFC 8032, section 7.1, test 1."""
    key = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing-key"
    load_key(path, SeededEntropy(1))
    path.chmod(0o640)
    with pytest.raises(LedgerError, match="mode 640") as caught:
        load_key(path, SeededEntropy(1))
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("content", ["", "text", "ab" * 31, "\u00e9" * 64])
def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "signing-key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(LedgerError, match="no signing key"):
        load_key(path, SeededEntropy(1))
    assert path.read_text() == content


def test_a_key_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnwritable, match="signing-key"):
        load_key(tmp_path / "absent" / "signing-key", SystemEntropy())


async def test_the_head_is_signed_at_each_interval_and_before_closing() -> None:
    inner = MemoryLedger(entropy=SeededEntropy(3))
    ledger = signing(inner, interval=10)
    for draft in drafts().many(24):
        await ledger.append(RUN, [draft])
    assert await signed_seqs(inner) == [10, 21]
    await ledger.sign()
    await ledger.sign()
    assert await signed_seqs(inner) == [10, 21, 26]
    assert (await inner.verify()).bad_position is None
    await ledger.aclose()


async def test_what_others_appended_is_signed_with_it() -> None:
    inner = MemoryLedger(entropy=SeededEntropy(3))
    ledger = signing(inner)
    made = drafts()
    await ledger.append(RUN, made.many(1))
    await inner.append(RUN, made.many(5))
    await ledger.sign()
    assert await signed_seqs(inner) == [6]


async def test_a_signature_that_others_overtake_is_made_again() -> None:
    made = drafts()

    async def overtake() -> None:
        await inner.append(RUN, made.many(WINDOW + 1))

    inner = MemoryLedger(entropy=SeededEntropy(3))
    ledger = signing(Overtaken(inner, overtake))
    await ledger.append(RUN, made.many(1))
    await ledger.sign()
    await ledger.sign()
    await ledger.sign()
    assert await signed_seqs(inner) == [1, WINDOW + 3]
    (signed,) = (await inner.verify()).signed
    assert (signed.signatures, signed.seq) == (1, WINDOW + 3)


async def test_nothing_is_signed_and_no_key_asked_for_where_nothing_was_appended() -> None:
    def no_key() -> SigningKey:
        raise AssertionError("asked for a key")

    inner = MemoryLedger(entropy=SeededEntropy(3))
    await inner.append(RUN, drafts().many(3))
    ledger = signing(inner, key=no_key)
    assert len(await ledger.read()) == 3
    assert (await ledger.verify()).signed == ()
    await ledger.aclose()


async def test_a_signature_that_finds_no_room_fails_nobody_and_is_made_up_for() -> None:
    crossed = 0

    def full_once() -> None:
        """Before and after each append: the third is the first signature's."""
        nonlocal crossed
        crossed += 1
        if crossed == 3:
            raise LedgerUnwritable("no room")

    inner = MemoryLedger(entropy=SeededEntropy(3))
    ledger = signing(CrashingLedger(inner, full_once), interval=2)
    made = drafts()
    assert len(await ledger.append(RUN, made.many(2))) == 2
    assert await signed_seqs(inner) == []
    await ledger.append(RUN, made.many(1))
    assert await signed_seqs(inner) == [3]


async def test_a_key_that_can_not_be_used_is_told_and_the_ledger_closed_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    (tmp_path / "key").chmod(0o600)
    inner = MemoryLedger(entropy=SeededEntropy(3))
    ledger = signing(inner, key=lambda: load_key(tmp_path / "key", SeededEntropy(1)))
    recorded = await ledger.append(RUN, drafts().many(1))
    assert recorded
    with pytest.raises(LedgerError, match="no signing key"):
        await ledger.aclose()
    with pytest.raises(LedgerError, match="closed"):
        await inner.read()


READING = """
import sys
from cavalcade.__main__ import main
sys.argv = ["cavalcade", "runs"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "cavalcade.ledger.signing" in sys.modules
assert "cryptography" not in sys.modules
"""


def test_a_command_that_records_nothing_loads_no_cryptography(tmp_path: Path) -> None:
    environ = {"CAVALCADE_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", READING], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "signing-key").exists()
