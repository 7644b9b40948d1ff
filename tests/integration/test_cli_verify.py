"""`verify` on the embedded record: signed heads, keys that are named, and a ledger that refuses to open."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from projects import SHOP, Project, Said, a_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With one run on the record."""
    project = a_project(tmp_path, SHOP)
    assert project.run("--yes").status == 0
    return project


def change(project: Project, statement: str) -> None:
    with closing(sqlite3.connect(project.home / "ledger.sqlite3")) as connection, connection:
        connection.execute(statement)


def key_of(project: Project) -> str:
    (signed,) = project("verify", "--json").data["ledger"]["signed"]
    return signed["key"]


def assert_damaged(said: Said, position: int, *parts: str) -> None:
    assert said.status == 6, said
    assert f"damaged at position {position}: " in said.err
    for part in (f"position {position}\n", "hint:", *parts):
        assert part in said.err, said


def test_each_command_that_records_signs_the_head(project: Project) -> None:
    one = project("verify", "--json").data["ledger"]
    (signed,) = one["signed"]
    assert (signed["signatures"], signed["position"], signed["seq"]) == (1, one["events"], one["events"] - 1)
    assert f"signed  1 head, the last at event {signed['seq']}, key {signed['key']}" in project("verify").out
    assert project.run(objective="rename prices:total to other").status == 3
    assert project("abort", "last").status == 0
    (signed,) = project("verify", "--json").data["ledger"]["signed"]
    assert signed["signatures"] == 3


def test_commands_that_record_nothing_sign_nothing(project: Project) -> None:
    before = project("verify", "--json").data
    for command in (("runs",), ("show", "last"), ("log", "last"), ("diff", "last")):
        assert project(*command).status == 0
    assert project("verify", "--json").data == before


def test_named_keys_must_have_signed(project: Project) -> None:
    key = key_of(project)
    events = project("verify", "--json").data["ledger"]["events"]
    assert project("verify", "--key", key).status == 0
    assert project("verify", "--key", key.upper(), "--key", "0" * 64).status == 0
    assert project("verify", CAVALCADE_KEY=key).status == 0
    assert_damaged(project("verify", "--key", "0" * 64), events, "wrong key", key, "--key HEX --key HEX")
    for nonsense in ("abc", key + "0", "x" * 64):
        said = project("verify", "--key", nonsense)
        assert said.status == 2
        assert "64 hexadecimal digits" in said.err


def test_a_ledger_without_signatures_does_not_pass_for_one_that_was_signed(tmp_path: Path) -> None:
    project = a_project(tmp_path, SHOP)
    said = project("verify", "--key", "0" * 64)
    assert said.status == 6
    assert "no head of its own origin is signed" in said.err
    assert project("verify").status == 0


def test_a_key_that_was_replaced_is_told_until_both_are_named(project: Project) -> None:
    old = key_of(project)
    (project.home / "signing-key").unlink()
    assert project.run(objective="rename prices:total to other").status == 3
    said = project("verify")
    assert said.status == 6
    assert "wrong key" in said.err
    assert old in said.err
    new = next(word for word in said.err.replace(",", " ").split() if len(word) == 64 and word != old)
    assert project("verify", "--key", old, "--key", new).status == 0
    assert "wrong key" in project("doctor").out
    assert "wrong key" not in project("doctor", CAVALCADE_KEY=f"{old} {new}").out


def test_a_wrong_signature_is_named_with_its_position(project: Project) -> None:
    events = project("verify", "--json").data["ledger"]["events"]
    with closing(sqlite3.connect(project.home / "ledger.sqlite3")) as connection, connection:
        (text,) = connection.execute("SELECT body FROM events WHERE position = ?", (events,)).fetchone()
        (before,) = connection.execute("SELECT hash FROM events WHERE position = ?", (events - 1,)).fetchone()
        forged = text.replace('"signature":"', '"signature":"00', 1)
        _put_last(connection, events, forged, before)
    (project.home / "ledger.sqlite3-head").unlink()
    assert_damaged(project("verify"), events, "wrong signature")


def _put_last(connection: sqlite3.Connection, position: int, text: str, before: bytes) -> None:
    from cavalcade.ledger.chain import link

    digest = link(before.hex(), text)
    connection.execute("UPDATE events SET body = ?, hash = ? WHERE position = ?", (text, digest, position))
    connection.execute("UPDATE origins SET hash = ?", (digest,))


def test_of_a_ledger_that_refuses_to_open_the_first_bad_position_is_named(project: Project) -> None:
    """The last event is what opening notices; the first bad one is further back."""
    events = project("verify", "--json").data["ledger"]["events"]
    change(project, f"UPDATE events SET body = replace(body, 'cavalcade', 'covalcade') WHERE position IN (3, {events})")
    assert_damaged(project("verify"), 3, "the 2 events before it are good")
    assert_damaged(project("verify", "last", "--gates"), 3)
    problem = project("verify", "--json")
    assert problem.status == 6
    assert "position 3" in problem.out + problem.err


def test_a_file_that_is_no_ledger_is_refused_by_verify_as_by_all(project: Project) -> None:
    (project.home / "ledger.sqlite3").write_bytes(b"no database" * 1000)
    said = project("verify")
    assert said.status == 6
    assert "is not a ledger" in said.err
