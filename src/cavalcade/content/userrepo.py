"""Opening the user's repository. Nothing here, or done with what is returned, writes to it."""

from __future__ import annotations

from pathlib import Path

import pygit2
from pygit2.enums import RepositoryOpenFlag

from cavalcade.kernel.errors import NotARepository, RepositoryNotUsable


def open_user_repository(path: Path) -> pygit2.Repository:
    """The repository that holds `path`, found upwards as git does. Raises NotARepository, RepositoryNotUsable."""
    found = pygit2.discover_repository(str(path)) if path.exists() else None
    if found is None:
        raise NotARepository(
            f"{path} is not in a git repository" if path.exists() else f"{path} doesn't exist",
            expected="a folder inside a git working tree",
            hint="give the folder of a repository, or make one: git init && git add -A && git commit -m start",
        )
    try:
        repository = pygit2.Repository(found, RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as exc:
        raise RepositoryNotUsable(
            f"{path} can't be opened: {exc}",
            expected="a git repository with SHA-1 object names",
            hint=_hint(str(exc), path),
        ) from exc
    if repository.is_bare or not repository.workdir:
        raise RepositoryNotUsable(
            f"{path} is a bare repository: it has no working tree",
            expected="a working tree",
            hint=f"git clone {path} somewhere, or git worktree add; then use that folder",
        )
    return repository


def common_folder(repository: pygit2.Repository) -> Path:
    """The `.git` folder that a linked worktree shares with its main one."""
    own = Path(repository.path)
    try:
        return (own / (own / "commondir").read_text().strip()).resolve()
    except FileNotFoundError:
        return own


def _hint(reason: str, path: Path) -> str:
    if "owner" in reason or "owned" in reason:
        return f"if you trust it: git config --global --add safe.directory {path}"
    if "object format" in reason or "objectformat" in reason:
        return "SHA-256 repositories aren't supported yet; convert it with git fast-export | git fast-import into a SHA-1 one"
    if "extension" in reason or "refstorage" in reason:
        return "it uses a repository extension that libgit2 doesn't know; git clone --no-local makes a plain copy"
    return "git fsck names what is damaged"
