"""A copy of a project for a program to work in: its files, and a `.git` of its own, so that nothing it does reaches the original's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pygit2

from cavalcade.content.objectstore import ObjectStore
from cavalcade.content.userrepo import common_folder, open_user_repository
from cavalcade.kernel.errors import ContentError
from cavalcade.protocol.plan import Base


def add_git(store: ObjectStore, folder: Path, base: Base, original: Path) -> None:
    """Makes `folder`, which holds the files of `base`, a repository at the commit that `base` stands on: uncommitted work shows as such.

    Objects are borrowed from the content store (`objects/info/alternates`), new ones stay here. What the original's
    `info/exclude` leaves out is left out here too; its other settings, hooks and remotes are not taken along. Raises ContentError.
    """
    try:
        common = common_folder(open_user_repository(original))
        repository = pygit2.init_repository(str(folder), initial_head=base.branch or "detached")
        git = Path(repository.path)
        (git / "objects" / "info").mkdir(exist_ok=True)
        (git / "objects" / "info" / "alternates").write_text(f"{store.objects}\n")
        if (common / "info" / "exclude").is_file():
            (git / "info").mkdir(exist_ok=True)
            shutil.copyfile(common / "info" / "exclude", git / "info" / "exclude")
        if (common / "shallow").is_file():
            shutil.copyfile(common / "shallow", git / "shallow")
        _check_out(pygit2.Repository(str(folder)), base)
    except (OSError, pygit2.GitError) as exc:
        raise ContentError(f"{folder} can't be made a repository: {exc}", hint="make room on the disk") from exc


def _check_out(repository: pygit2.Repository, base: Base) -> None:
    head = pygit2.Oid(hex=base.head or base.commit)
    if base.branch:
        repository.references.create(f"refs/heads/{base.branch}", head)
    else:
        repository.set_head(head)
    commit = repository[head]
    assert isinstance(commit, pygit2.Commit)  # the base stands on a commit
    repository.index.read_tree(commit.tree)
    repository.index.write()
