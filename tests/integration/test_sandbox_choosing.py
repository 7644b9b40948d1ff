"""Which sandbox is chosen, and that there is no running without one. Bug class this catches: a silent way down to running bare."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from attacks import GAPS, PRETENDED

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.errors import SandboxUnavailable, UsageError
from cavalcade.sandbox.canary import CONTROLS, Kind, probe
from cavalcade.sandbox.choosing import ASKED, TEST_SUITE, TIERS, Need, Surroundings, choose, consider
from cavalcade.sandbox.landlock import find_landlock
from cavalcade.sandbox.port import Command, Limits, Result, Told
from cavalcade.sandbox.wasm import find_wasmtime

PAGE = Path(__file__).parent.parent.parent / "docs" / "sandbox.md"


def no_landlock() -> int:
    raise SandboxUnavailable("this kernel has no Landlock, or doesn't allow it", hint="a kernel from 6.12 on")


def no_wasmtime() -> str:
    raise SandboxUnavailable("wasmtime is not installed", hint="install it: pip install 'cavalcade[wasm]'")


@pytest.fixture
def here(tmp_path: Path) -> Surroundings:
    return Surroundings(
        cache=tmp_path / "verdicts",
        python=Path(sys.executable),
        home=Path.home(),
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )


@pytest.fixture
def nothing(here: Surroundings, tmp_path: Path) -> Surroundings:
    """Every sandbox hidden."""
    (tmp_path / "bin").mkdir()
    return replace(here, search_path=str(tmp_path / "bin"), landlock_abi=no_landlock, wasmtime_version=no_wasmtime)


async def test_the_strongest_that_contains_is_chosen_and_when_it_was_verified_is_told(here: Surroundings) -> None:
    choice = await choose("auto", TEST_SUITE, here)
    assert choice.sandbox.name == "bubblewrap"
    assert [found.name for found in choice.considered] == ["bubblewrap"]
    again = await choose("auto", TEST_SUITE, here)
    assert again.verified_at == choice.verified_at


async def test_the_next_one_is_chosen_and_why_the_first_was_not_is_told(
    here: Surroundings, nothing: Surroundings
) -> None:
    choice = await choose("auto", TEST_SUITE, replace(nothing, landlock_abi=find_landlock))
    assert choice.sandbox.name == "landlock"
    assert choice.considered[0].name == "bubblewrap"
    assert "not installed" in choice.considered[0].problems[0]
    assert "apt install bubblewrap" in choice.considered[0].hint


async def test_with_every_sandbox_hidden_a_job_is_refused_with_each_reason_and_what_to_install(
    nothing: Surroundings,
) -> None:
    with pytest.raises(SandboxUnavailable) as caught:
        await choose("auto", frozenset(), nothing)
    assert [place.partition(":")[0] for place in caught.value.places] == ["bubblewrap", "landlock", "wasm"]
    for install in ("apt install bubblewrap", "kernel from 6.12", "cavalcade[wasm]"):
        assert install in caught.value.hint


@pytest.mark.parametrize("asked", [name for name in ASKED if name != "auto"])
async def test_a_name_narrows_the_choice_and_is_refused_when_that_one_is_missing(
    asked: str, nothing: Surroundings
) -> None:
    with pytest.raises(SandboxUnavailable) as caught:
        await choose(asked, frozenset(), nothing)
    assert {place.partition(":")[0] for place in caught.value.places} == {asked}


async def test_wasm_is_not_chosen_for_what_it_can_t_run(nothing: Surroundings) -> None:
    with pytest.raises(SandboxUnavailable) as caught:
        await choose("auto", TEST_SUITE, replace(nothing, wasmtime_version=find_wasmtime))
    assert "wasm: it can't give what the job needs: native code, subprocesses, threads" in caught.value.places


async def test_landlock_is_not_chosen_for_a_network_of_its_own(nothing: Surroundings) -> None:
    needs: frozenset[Need] = frozenset({"loopback network"})
    with pytest.raises(SandboxUnavailable, match="can't be run safely") as caught:
        await choose("auto", needs, replace(nothing, landlock_abi=find_landlock))
    assert "landlock: it can't give what the job needs: loopback network" in caught.value.places


@pytest.mark.parametrize("name", ["none", "bare", "off", "host", ""])
async def test_there_is_no_name_for_running_without(name: str, here: Surroundings) -> None:
    with pytest.raises(UsageError, match="there is no sandbox"):
        await choose(name, TEST_SUITE, here)


def test_a_landlock_that_lets_signals_out_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="does not contain signals"):
        find_landlock(least=1000)


class SaysNothing:
    """A sandbox in which nothing runs: every attack fails in it."""

    name = "empty"

    async def run(self, command: Command, limits: Limits, *, told: Told | None = None) -> Result:
        assert command.argv
        assert limits
        assert told is None
        return Result(exit_code=0, signal=0, hit="", stdout=b"", stderr=b"", duration_s=0, peak_rss_bytes=0)

    def describe(self) -> dict[str, str]:
        return {}


async def test_a_sandbox_in_which_nothing_runs_does_not_pass() -> None:
    problems = await probe(SaysNothing(), Kind(python=sys.executable), SystemEntropy())
    assert any("nothing ran inside" in problem for problem in problems)


async def test_a_verdict_that_others_could_have_written_counts_for_nothing(here: Surroundings) -> None:
    first = await consider(TIERS[1], here)
    here.cache.chmod(0o666)
    second = await consider(TIERS[1], here)
    assert first.verified_at is not None
    assert second.verified_at is not None
    assert second.verified_at > first.verified_at


def test_the_page_says_what_each_sandbox_does_not_contain() -> None:
    """Row by row as the attacks expect it."""
    table = PAGE.read_text(encoding="utf-8").partition("<!-- gaps -->")[2].partition("<!-- end -->")[0]
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.strip().splitlines()[2:]}
    expected = {(name, attack, "succeeds") for name, attacks in GAPS.items() for attack in attacks}
    expected |= {
        (name, attack, "answered as done, nothing outside changes")
        for name, attacks in PRETENDED.items()
        for attack in attacks
    }
    assert rows == expected


def test_the_page_names_every_control() -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))
    assert all(control.replace("_", " ") in text for control in CONTROLS)
