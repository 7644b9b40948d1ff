"""`cavalcade.toml` in a project's root: how its tests are run. Everything in it is optional."""

from __future__ import annotations

from pathlib import Path

import msgspec

from cavalcade.kernel.errors import UsageError

FILE_NAME = "cavalcade.toml"


class TestsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`command` replaces pytest (argv); `python` names the interpreter, relative to the project's root."""

    __test__ = False

    command: tuple[str, ...] = ()
    python: str = ""
    timeout_s: int = 1200


class ProjectConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tests: TestsSection = TestsSection()


def read_project_config(root: Path) -> ProjectConfig:
    """Raises UsageError when the file is there and can't be used."""
    try:
        data = (root / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return ProjectConfig()
    try:
        return msgspec.toml.decode(data, type=ProjectConfig)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise UsageError(
            f"{FILE_NAME} can't be used: {exc}",
            expected='[tests] with command = ["..."], python = "path", timeout_s = 1200',
            hint=f"correct {root / FILE_NAME}",
        ) from exc
