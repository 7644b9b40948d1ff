"""`run`: from words and flags to a run on the record, and on with it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from cavalcade.cli.compose import System
from cavalcade.cli.drive import carry_on
from cavalcade.cli.feedback import parse_mentions
from cavalcade.cli.find import path_in, top_folder
from cavalcade.cli.terminal import Terminal
from cavalcade.config.project import TestsSection, read_project_config
from cavalcade.kernel.errors import UsageError
from cavalcade.protocol.events import Settings
from cavalcade.recipes.objective import Objective, parse_objective


@dataclass(frozen=True)
class Asked:
    """The flags of `run`, as given."""

    words: Sequence[str]
    repo: Path
    yes: bool
    mentions: str
    only: Sequence[str]
    without: Sequence[str]
    no_tests: bool
    python: Path | None
    test_command: str
    head: bool
    attempts: int


async def start(system: System, terminal: Terminal, asked: Asked) -> int:
    repository = top_folder(asked.repo)
    objective = objective_of(asked.words)
    goal = parse_objective(objective)
    call = replace(goal.call, mentions=parse_mentions(asked.mentions)) if asked.mentions else goal.call
    settings = settings_of(asked, goal, repository, read_project_config(repository).tests)
    run = await system.request(objective, call, repository, settings, include_uncommitted=not asked.head)
    return await carry_on(system, terminal, run)


def objective_of(words: Sequence[str]) -> str:
    """`rename A B` means `rename A to B`; anything else is taken as it was typed."""
    if len(words) == 3 and words[0] == "rename":
        return f"rename {words[1]} to {words[2]}"
    objective = " ".join(" ".join(words).split())
    if not objective:
        raise UsageError("the objective is empty", expected='for example "rename package.module:old_name to new_name"')
    return objective


def settings_of(asked: Asked, goal: Objective, repository: Path, tests: TestsSection) -> Settings:
    """Flags first, then the project's `cavalcade.toml`. Raises UsageError."""
    return Settings(
        auto_approve=asked.yes,
        tests=not asked.no_tests,
        python=_interpreter(asked.python, repository, tests.python),
        test_command=_command(asked.test_command) or tests.command,
        only=_paths((*asked.only, *goal.only), repository, asked.head),
        without=_paths((*asked.without, *goal.without), repository, asked.head),
        attempts=asked.attempts,
        test_timeout_s=tests.timeout_s,
    )


def _interpreter(given: Path | None, repository: Path, configured: str) -> str:
    """Absolute, links not followed: a virtual environment's own interpreter is a link."""
    if given is None and not configured:
        return ""
    path = Path.cwd() / given.expanduser() if given is not None else repository / configured
    if given is not None and len(given.parts) == 1 and not path.exists():
        path = Path(shutil.which(str(given)) or path)
    if not path.is_file():
        raise UsageError(
            f"there is no Python at {path}",
            expected="the interpreter that runs the project's tests",
            hint="--python PATH",
        )
    return str(path)


def _command(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as exc:
        raise UsageError(f"--test-command can't be read: {exc}", expected="words as in a shell") from exc


def _paths(given: Iterable[str], repository: Path, committed_only: bool) -> tuple[str, ...]:
    found: list[str] = []
    for text in given:
        path = path_in(repository, text, Path.cwd())
        if not committed_only and not (repository / path).exists():
            raise UsageError(f"there is no {path!r} in {repository}", expected="a file or folder of the project")
        found.append(path)
    return tuple(path for path in found if path != ".")
