"""What the documentation says can be typed can be typed, and what it points to is there.

Bug class this catches: examples that were true once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from command import Cavalcade
from documents import PAGES, Block, anchors, blocks, demo_block, install_block, links
from repositories import ROOT

from cavalcade.config.project import ProjectConfig

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

_RUNNABLE = ("sh", "python")
_SHOWN = ("text", "toml")


def _runnable(page: Path) -> list[Block]:
    elsewhere = (demo_block(), install_block())
    return [block for block in blocks(page) if block.language in _RUNNABLE and block not in elsewhere]


def _script(page: Path) -> str:
    """The blocks one after the other, each said before it runs. A run that waits for a person (3) is no failure."""
    lines = ["trap 'status=$?; [ $status = 3 ] || exit $status' ERR"]
    for block in _runnable(page):
        text = block.text if block.language == "sh" else f"python3 - <<'END OF BLOCK'\n{block.text}END OF BLOCK\n"
        lines += [f"echo ':: {block.place}'", text]
    return "\n".join(lines)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if _runnable(page)], ids=_name)
def test_every_example_runs_from_top_to_bottom(page: Path, cavalcade: Cavalcade, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    cavalcade.home.mkdir()
    environ = cavalcade.environ() | {"VIRTUAL_ENV": str(ROOT / ".venv")}
    environ["PATH"] = os.pathsep.join([str(cavalcade.command.parent), environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", _script(page)],
        cwd=scratch,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_says_what_it_is(page: Path) -> None:
    strange = [block.place for block in blocks(page) if block.language not in (*_RUNNABLE, *_SHOWN)]
    assert not strange


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_settings_that_are_shown_are_settings_that_are_read() -> None:
    shown = [block for page in PAGES for block in blocks(page) if block.language == "toml"]
    assert shown
    for block in shown:
        msgspec.convert(tomllib.loads(block.text), type=ProjectConfig)


def test_the_readme_has_at_most_twenty_lines_to_type_after_installing() -> None:
    lines = [line for block in _runnable(ROOT / "README.md") for line in block.text.splitlines() if line.strip()]
    assert 0 < len(lines) <= 20


def test_the_reference_of_commands_is_what_the_commands_say() -> None:
    script = ROOT / "scripts" / "cli_reference.py"
    written = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == written, "run `make reference`"


def test_every_command_of_make_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for word in page.read_text(encoding="utf-8").split("`make ")[1:]:
            target = word.split("`")[0].split()[0]
            assert f"\n{target}:" in makefile, f"{_name(page)}: make {target}"
