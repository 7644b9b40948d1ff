"""Objectives, plans and their parts, as data.

A plan names every edit by its content (blob before, blob after), so that its hash covers the exact bytes which will land.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cavalcade.kernel.ids import BlobId, CommitId, TaskId, TreeId


class Struct(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all plain data here."""


Mention = Literal["docs", "comments", "strings"]
"""Kinds of plain-text mention of a name that are changed only where asked: docstrings and documentation files, comments, strings."""


class RecipeCall(Struct, frozen=True):
    """A recipe by name with its arguments, all text: `rename(symbol=flask.helpers:get_root_path, to=find_root_path)`."""

    name: str
    arguments: dict[str, str]
    mentions: tuple[Mention, ...] = ()


class Place(Struct, frozen=True):
    """A location in the base tree: `line` from 1, `column` from 1 in characters, `text` the line without its end."""

    path: str
    line: int
    column: int = 1
    text: str = ""
    why: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


EditKind = Literal["reference", "mention", "residual"]


class PlannedEdit(Struct, frozen=True):
    """One file's change. `before` is None for a new file, `after` None for a removed one; `moved_from` names a moved file's old path.

    `reference`: certain. `mention`: plain text, asked for. `residual`: same name, not proven to mean the symbol; tried only when
    gates or tests ask for it, on top of the reference edit of the same file (its `before` is that edit's `after`).
    """

    number: int
    path: str
    before: BlobId | None
    after: BlobId | None
    mode: int = 0o100644
    moved_from: str = ""
    kind: EditKind = "reference"
    changes: int = 1
    places: tuple[Place, ...] = ()


class TaskSpec(Struct, frozen=True):
    id: TaskId
    title: str
    role: Literal["coder"] = "coder"
    targets: tuple[str, ...] = ()
    depends_on: tuple[TaskId, ...] = ()
    edits: tuple[int, ...] = ()
    residual: tuple[int, ...] = ()
    attempts: int = 3


class TestPlan(Struct, frozen=True):
    """Which tests judge the result: `command` as argv, `selection` the test files (empty: the whole suite).

    `refused` says why no tests can be run; a person who approves the plan approves that.
    """

    __test__ = False

    command: tuple[str, ...] = ()
    python: str = ""
    selection: tuple[str, ...] = ()
    pythonpath: tuple[str, ...] = ()
    version: str = ""
    """pytest's version there, empty for a command of the user's own."""
    why: str = ""
    """Why these tests."""
    refused: str = ""


class Plan(Struct, frozen=True):
    """What a person approves. Its canonical hash is the only licence to act."""

    objective: str
    recipe: RecipeCall
    base_tree: TreeId
    tasks: tuple[TaskSpec, ...]
    edits: tuple[PlannedEdit, ...]
    unresolved: tuple[Place, ...] = ()
    """Places that may mean the symbol and can't be resolved: listed, never guessed."""
    mentions: tuple[Place, ...] = ()
    """Mentions in strings, comments and docstrings that stay as they are."""
    problems: tuple[Place, ...] = ()
    """Files that could not be parsed."""
    tests: TestPlan = TestPlan()
    allowed: tuple[str, ...] = ()
    """The fence: the only paths that may be written, exact."""
    cost_usd: float = 0.0


class Base(Struct, frozen=True):
    """Where a run starts. `commit` is the snapshot in the content store; `head` the user's commit it stands on."""

    commit: CommitId
    tree: TreeId
    head: CommitId | None
    branch: str = ""
    """The user's branch, empty when HEAD is detached."""
    dirty: tuple[str, ...] = ()
    """Paths with uncommitted changes that the snapshot includes."""
    notes: tuple[str, ...] = ()
    """What the import noticed: shallow history, submodules left out, LFS pointers kept, merge in progress ..."""
