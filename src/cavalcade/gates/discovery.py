"""Finding out how a project's tests are run: which interpreter, which command, which folders to import from."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import cast

from msgspec.structs import replace

from cavalcade.gates.tests import PLUGIN, suite_environment
from cavalcade.kernel.errors import UsageError
from cavalcade.protocol.plan import TestPlan
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.port import Command, Limits, Sandbox

_OLDEST_PYTEST = 6
_PATTERNS = ("test_*.py", "*_test.py")
# A file that can't be collected must not keep the tests of all others from being run.
_OPTIONS = ("-p", "no:cacheprovider", "-p", PLUGIN, "-q", "--color=no", "--continue-on-collection-errors")
_PROBE_LIMITS = Limits(wall_s=60, cpu_s=60, processes=64, output_bytes=1 << 20)
_PROBE = "import pytest; print('pytest', pytest.__version__)"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the caller's machine offers. `python` was named by the person; `repository` is the person's folder, where a `.venv`
    may lie; `virtual_env` and `search_path` are the values of VIRTUAL_ENV and PATH; `home` the person's home folder."""

    home: Path
    repository: Path | None = None
    python: Path | None = None
    virtual_env: str = ""
    search_path: str = ""


def find_python(around: Surroundings) -> Path | None:
    """The named one, else `.venv` of the repository, else the active environment, else the first python3 on the path."""
    if around.python is not None:
        return around.python
    folders = [around.repository / ".venv" / "bin"] if around.repository is not None else []
    if around.virtual_env:
        folders.append(Path(around.virtual_env) / "bin")
    for candidate in (folder / "python" for folder in folders):
        if os.access(candidate, os.X_OK):
            return Path(os.path.abspath(candidate))
    for folder in around.search_path.split(os.pathsep):
        candidate = Path(folder) / "python3"
        if os.path.isabs(folder) and os.access(candidate, os.X_OK) and not _is_script(candidate):
            return candidate
    return None


async def plan_tests(
    sandbox: Sandbox,
    workspace: Path,
    paths: Collection[str],
    around: Surroundings,
    *,
    selection: tuple[str, ...] = (),
    command: tuple[str, ...] = (),
    why: str = "",
) -> TestPlan:
    """How to run the tests of the tree `paths` that lies in `workspace`, a scratch copy.

    `selection` are test files (none: the whole suite), chosen because of `why`. `command` is the person's own, taken as it is. A
    plan with `refused` says why tests can't be run and what to do. Raises SandboxUnavailable.
    """
    pythonpath = (import_root(paths),)
    python = find_python(around)
    if command:
        return TestPlan(command=command, python=str(python or ""), pythonpath=pythonpath, why=why)
    if not any(is_test_file(path, _patterns(workspace, paths)) for path in paths):
        return TestPlan(
            refused="no tests were found: no file is named test_*.py or *_test.py; name a command with --test-command"
        )
    if python is None:
        return TestPlan(refused="no Python interpreter was found to run the tests with; name one with --python")
    plan = TestPlan(
        command=(str(python), "-m", "pytest", *_OPTIONS),
        python=str(python),
        pythonpath=pythonpath,
        selection=selection,
        why=why,
    )
    return await _with_pytest(sandbox, workspace, plan, around.home)


async def _with_pytest(sandbox: Sandbox, workspace: Path, plan: TestPlan, home: Path) -> TestPlan:
    """The plan with the version of pytest that its interpreter has inside the sandbox, or a refusal."""
    try:
        readable = interpreter_roots(Path(plan.python), home=home)
    except UsageError as exc:
        return TestPlan(refused=f"{exc.what}; {exc.hint or 'name another interpreter with --python'}")
    argv = (plan.python, "-c", _PROBE)
    probe = Command(argv=argv, workspace=workspace, env=suite_environment(plan), readable=readable)
    result = await sandbox.run(probe, _PROBE_LIMITS)
    found = re.search(rb"^pytest ((\d+)\..*)$", result.stdout, re.M)
    if result.exit_code == 0 and found and int(found[2]) >= _OLDEST_PYTEST:
        return replace(plan, version=found[1].decode())
    if found:
        too_old = f"pytest {found[1].decode()} under {plan.python} is too old"
        return TestPlan(refused=f"{too_old}; install pytest {_OLDEST_PYTEST} or newer there")
    lines = result.stderr.decode(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else result.hit or f"exit status {result.exit_code}"
    return TestPlan(
        refused=f"pytest can't be imported by {plan.python} ({reason}); install pytest and what the project needs there, "
        "or name another interpreter with --python or a command with --test-command"
    )


def import_root(paths: Collection[str]) -> str:
    """`src` for a project that keeps its packages there, else the top folder."""
    return "src" if any(fnmatch(path, "src/*.py") for path in paths) and "src/__init__.py" not in paths else "."


def is_test_file(path: str, patterns: Collection[str] = _PATTERNS) -> bool:
    return any(fnmatch(PurePosixPath(path).name, pattern) for pattern in patterns)


def _patterns(workspace: Path, paths: Collection[str]) -> tuple[str, ...]:
    """pytest's own, or what `pyproject.toml` says instead."""
    if "pyproject.toml" not in paths:
        return _PATTERNS
    try:
        descriptor = os.open(workspace / "pyproject.toml", os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:
            settings: object = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return _PATTERNS
    for key in ("tool", "pytest", "ini_options", "python_files"):
        settings = cast(Mapping[str, object], settings).get(key) if isinstance(settings, Mapping) else None
    return (*_PATTERNS, *_words(settings))


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.split()
    elif isinstance(value, list):
        yield from (item for item in cast(list[object], value) if isinstance(item, str))


def _is_script(path: Path) -> bool:
    """A stand-in that finds the interpreter by itself (pyenv, asdf): inside it would find nothing."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True
