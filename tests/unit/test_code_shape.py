"""How the code is kept: small functions and modules, documented rooms, reasons beside dependencies, nothing left for later."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path
from statistics import quantiles

import pytest

import cavalcade

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "cavalcade"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))

LEFT_FOR_LATER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
)
REGISTRY_ADDRESS = re.compile(
    r"https?://[\w.:@-]*(?<![\w-])(" + "|".join(re.escape(host) for host in REGISTRIES) + r")\b", re.IGNORECASE
)


def tracked_files() -> list[Path]:
    """What belongs to the project: git's index, or, in an export without a repository, all that was exported."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        return [path for name in listed.decode().split("\0") if (path := ROOT / name).is_file()]
    folders = [ROOT / name for name in ("src", "tests", "docs", "scripts", "bench", "changes", ".ci")]
    return [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]


def texts() -> list[tuple[str, str]]:
    """Relative path and text of every file of the project that is text."""
    found: list[tuple[str, str]] = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data:
            found.append((path.relative_to(ROOT).as_posix(), data.decode("utf-8", "replace")))
    return found


def places(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def function_lengths() -> dict[str, int]:
    lengths: dict[str, int] = {}
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                place = f"{module.relative_to(ROOT)}:{node.lineno} {node.name}"
                lengths[place] = (node.end_lineno or node.lineno) - node.lineno + 1
    return lengths


def test_nine_functions_in_ten_have_at_most_40_lines() -> None:
    lengths = function_lengths()
    longest = sorted(lengths.items(), key=lambda item: -item[1])[:10]
    assert quantiles(lengths.values(), n=10)[-1] <= 40, longest


def test_no_module_has_more_than_600_lines() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {path: size for path, size in sizes.items() if size > 600} == {}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_what_it_holds(room: Path) -> None:
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert said
    assert len(said) >= 20


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_the_rooms_that_the_package_lists_are_its_folders() -> None:
    """A line names a room first, and may name another after a semicolon."""
    listed = re.findall(r"(?:^ {4}|; )(\w+)(?=:? )", cavalcade.__doc__ or "", re.MULTILINE)
    assert sorted(listed) == [room.name for room in ROOMS]


def test_the_layers_of_the_import_contract_are_the_rooms() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    named = {room for layer in layers for room in layer.split(" | ")}
    assert named == {"__main__", *(room.name for room in ROOMS)}


def test_every_dependency_of_the_package_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    wanted: list[str] = [*project["dependencies"], *(need for needs in extras.values() for need in needs)]
    assert wanted
    bare = [need for need in wanted if not re.search(re.escape(f'"{need}"') + r",?\s*# \w.{9,}", text)]
    assert bare == []


def test_nothing_is_left_for_later() -> None:
    assert places(LEFT_FOR_LATER) == []


def test_no_file_names_the_address_of_a_package_registry() -> None:
    """Which registry is used is for the user's own configuration to say."""
    assert places(REGISTRY_ADDRESS) == []


@pytest.mark.parametrize(
    "address", [f"https://{host}/simple" for host in REGISTRIES] + [f"http://files.{REGISTRIES[1]}/x"]
)
def test_the_address_of_a_registry_would_be_noticed(address: str) -> None:
    assert REGISTRY_ADDRESS.search(f'index-url = "{address}"')
    assert not REGISTRY_ADDRESS.search(
        "https://example.org/" + address.removeprefix("https://").removeprefix("http://")
    )
