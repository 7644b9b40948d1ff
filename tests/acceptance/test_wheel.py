"""What is built holds what it should, and the README's own words install it into an empty environment where it works.

Bug class this catches: files that are only there in a source tree, dependencies that are only there for developers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from command import Cavalcade
from documents import install_block
from repositories import ROOT, call, git

from cavalcade import __version__

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]


class Built(NamedTuple):
    sdist: Path
    wheel: Path

    def inside(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The source distribution, and the wheel that is built from it, not from the tree."""
    folder = tmp_path_factory.mktemp("dist")
    call([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Cavalcade:
    """By the README's lines, typed in the unpacked source distribution, with a home folder that is empty."""
    folder = tmp_path_factory.mktemp("stranger")
    call(["tar", "-xzf", str(built.sdist), "-C", str(folder)])
    (source,) = folder.iterdir()
    home = folder / "home"
    home.mkdir()
    kept = ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")  # and how this machine reaches its package registry
    environ = {name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")}
    done = subprocess.run(
        ["bash", "-e", "-c", install_block().text],
        cwd=source,
        env=environ | {"HOME": str(home), "CAVALCADE_HOME": str(home / "data")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return Cavalcade(home / ".cavalcade" / "bin" / "cavalcade", home)


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    outside = {name for name in built.inside() if not name.startswith(("cavalcade/", "cavalcade-"))}
    assert not outside
    assert not {name for name in built.inside() if "/test_" in name or "__pycache__" in name}


def test_the_wheel_holds_types_licence_and_every_sql_file(built: Built) -> None:
    inside = built.inside()
    sources = ROOT / "src" / "cavalcade"
    wanted = {str(path.relative_to(ROOT / "src")) for path in (*sources.rglob("*.sql"), sources / "py.typed")}
    assert len(wanted) > 1
    assert wanted <= inside
    assert f"cavalcade-{__version__}.dist-info/licenses/LICENSE" in inside


def test_the_source_distribution_holds_the_tests_and_the_documents(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "docs/quickstart.md", "tests/acceptance/test_wheel.py"} <= names


def test_the_installed_command_says_its_version(installed: Cavalcade) -> None:
    said = installed("version")
    assert (said.status, said.out) == (0, f"cavalcade {__version__}\n"), said


def test_doctor_finds_everything_that_is_needed(installed: Cavalcade) -> None:
    said = installed("doctor", "--json")
    assert said.status == 0, said
    assert said.report


def test_a_run_completes_with_nothing_but_what_was_installed(installed: Cavalcade, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    (project / "prices.py").write_text("def total(items):\n    return sum(items)\n")
    (project / "test_prices.py").write_text(
        "from prices import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
    )
    git(project, "init", "-q", "-b", "main")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "A shop")
    python = str(installed.command.parent / "python")
    said = installed("run", "rename prices:total to sum_prices", "--yes", "--json", "--python", python, cwd=project)
    assert said.status == 0, said
    assert said.report["phase"] == "completed"
    assert "def sum_prices" in git(project, "show", f"{said.report['branch']}:prices.py")
