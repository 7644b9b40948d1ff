"""`CAVALCADE_LEDGER` names a PostgreSQL database: every command uses it, people are told so, and nobody is told its password."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from projects import Project, a_project

from cavalcade.testing.postgres_server import PostgresServer

PASSWORD = "ge%21heim"


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """With a password, which a server that trusts everybody doesn't ask for."""
    return postgres.new_database().replace("cavalcade@", f"cavalcade:{PASSWORD}@")


@pytest.fixture
def shop(tmp_path: Path, url: str) -> Project:
    project = a_project(tmp_path)
    project.environ["CAVALCADE_LEDGER"] = url
    return project


def test_a_whole_run_is_recorded_in_postgres_and_every_command_reads_it_there(shop: Project, url: str) -> None:
    said = shop.run("--yes", tests=True)
    assert said.status == 0, said
    assert len(shop.branches()) == 1
    assert not list(shop.home.glob("ledger.sqlite3*"))
    with psycopg.connect(url) as connection:
        (events,) = connection.execute("SELECT count(*) FROM cavalcade.events").fetchone() or (0,)
    said = shop("verify", "--json")
    assert said.status == 0, said
    assert said.data["ledger"]["events"] == events > 10
    assert said.data["ledger"]["signed"]
    assert len(shop("runs", "--all", "--json").data) == 1
    for command in (("show", "last"), ("log", "last"), ("diff", "last"), ("verify", "last", "--gates")):
        said = shop(*command)
        assert said.status == 0, said
    back = shop.home.parent / "back"
    assert shop("restore", "last", "--at", "1", "--into", str(back)).status == 0
    assert "def total" in (back / "prices.py").read_text()


def test_the_doctor_says_which_ledger_is_used_and_whether_it_is_whole(shop: Project) -> None:
    (finding,) = [check for check in shop("doctor", "--json").data["checks"] if check["name"] == "ledger"]
    assert finding["ok"]
    assert finding["found"].startswith("postgresql://cavalcade@")
    assert "whole: 0 events" in finding["found"]


def test_a_damaged_ledger_is_named_by_verify_and_by_the_doctor(shop: Project, url: str) -> None:
    assert shop.run("--yes").status == 0
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE cavalcade.events SET body = body || ' '::bytea WHERE position = 3")
    said = shop("verify")
    assert said.status == 6
    assert "position 3" in said.err
    assert "position 3" in shop("doctor").out
    assert shop("runs").status == 6


@pytest.mark.parametrize("command", [("runs",), ("verify",), ("doctor",)])
def test_a_database_that_is_not_there_is_named_without_its_password(
    shop: Project, tmp_path: Path, command: tuple[str, ...]
) -> None:
    said = shop(*command, CAVALCADE_LEDGER=f"postgresql://ada:{PASSWORD}@/books?host={tmp_path}")
    assert said.status == 6, said
    assert "can't be reached" in said.out + said.err
    assert "heim" not in said.out + said.err


@pytest.mark.parametrize("address", ["mysql://ada:geheim@localhost/books", "ada:geheim", "postgresql://a:ge@heim@x/y"])
def test_an_address_of_another_kind_is_refused_and_not_shown(shop: Project, address: str) -> None:
    for command in ("runs", "doctor"):
        said = shop(command, CAVALCADE_LEDGER=address)
        assert said.status == 2, said
        assert "CAVALCADE_LEDGER" in said.out + said.err
        assert "heim" not in said.out + said.err


def test_without_the_extra_it_says_what_to_install(shop: Project) -> None:
    """As where psycopg was never installed: the import finds nothing."""
    program = "import sys; sys.modules['psycopg'] = None; from cavalcade.__main__ import main; sys.argv[1:] = ['runs']; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=shop.all_environ({"PYTHONPATH": os.pathsep.join(sys.path)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cavalcade[postgres]" in done.stderr


def test_installations_with_keys_of_their_own_share_one_ledger_that_one_of_them_signs(
    shop: Project, tmp_path: Path
) -> None:
    other = Project(shop.folder, tmp_path / "other-home", dict(shop.environ))
    assert shop.run("--yes").status == 0
    assert other.run("--yes").status == 0
    assert len(other("runs", "--all", "--json").data) == len(shop("runs", "--all", "--json").data) == 2
    said = other("verify", "--json")
    assert said.status == 0, said
    assert len(said.data["ledger"]["signed"]) == 1
