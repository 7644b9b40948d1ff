"""Before the user's own working tree becomes another state: everything there is saved, and what stands in the way is found."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import pygit2

from cavalcade.content.importing import import_repository
from cavalcade.content.objects import SUBMODULE, encode_path, new_commit, parse_commit, printable_path
from cavalcade.content.objectstore import ObjectStore
from cavalcade.content.port import Difference, Entry, InPlace, Mark
from cavalcade.content.restoring import checked, mark_of
from cavalcade.content.trees import Trees
from cavalcade.content.userrepo import open_user_repository
from cavalcade.content.worktree import WorkingTree
from cavalcade.kernel.errors import ContentError, RepositoryNotUsable
from cavalcade.kernel.ids import CommitId, TreeId
from cavalcade.protocol.plan import Base

_NAMED = 10


def prepare_in_place(
    store: ObjectStore, trees: Trees, path: Path, tree: TreeId, *, replace_ignored: bool = False
) -> InPlace:
    """See `ContentStore.prepare_in_place`."""
    repository = open_user_repository(path)
    _check_quiet(repository, path)
    base = import_repository(store, trees, path, include_uncommitted=True)
    differences, notes = without_submodules(trees.differences(base.tree, tree))
    checked(differences, store.read)
    look = _Look(repository, differences)
    for each in differences:
        look.at(each)
    look.judge(replace_ignored=replace_ignored)
    saved = _saved(store, trees, base, look) if look.unsaved else base
    if look.unsaved:
        differences, notes = without_submodules(trees.differences(saved.tree, tree))
    return InPlace(
        folder=Path(repository.workdir),
        tree=tree,
        saved=saved.commit,
        saved_tree=saved.tree,
        dirty=saved.dirty,
        differences=tuple(differences),
        marks=look.marks,
        notes=(*base.notes, *notes),
    )


def _check_quiet(repository: pygit2.Repository, path: Path) -> None:
    if state := repository.state():
        raise RepositoryNotUsable(
            f"{state.name.lower().replace('_', ' ')} in progress in {path}",
            expected="a repository in which git is in the middle of nothing",
            hint="finish it (git status says how), or restore with --into DIR",
        )
    if (Path(repository.path) / "index.lock").exists():
        raise RepositoryNotUsable(
            f"git is at work in {path}: it holds index.lock", hint="wait until it is done, or restore with --into DIR"
        )


def without_submodules(found: Iterable[Difference]) -> tuple[list[Difference], list[str]]:
    """What is to be done, submodules left alone; and notes that name these."""
    differences: list[Difference] = []
    left: list[str] = []
    for each in found:
        old = each.old is not None and each.old.mode == SUBMODULE
        new = each.new is not None and each.new.mode == SUBMODULE
        if (old and (new or each.new is None)) or (new and each.old is None):
            left.append(each.path)
        elif new:
            left.append(each.path)
            differences.append(each._replace(new=None))
        else:
            differences.append(each)
    names = ", ".join(printable_path(path) for path in sorted(left)[:_NAMED])
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return differences, [f"submodules left alone: {names}{more}"] if left else []


class _Look:
    """At the files that will be replaced or removed, as they are on the disk now."""

    def __init__(self, repository: pygit2.Repository, differences: Iterable[Difference]) -> None:
        self.marks: dict[str, Mark | None] = {}
        self.unsaved: dict[str, Entry] = {}
        """What the import left out and the restore would take away."""
        self.working = WorkingTree(repository)
        self._top = Path(repository.workdir)
        self._ignored: list[str] = []
        self._never: list[str] = []
        self._entered: set[str] = set()
        self._gone = frozenset(each.path for each in differences if each.new is None)
        """What the restore removes by itself."""

    def at(self, each: Difference) -> None:
        if each.old is not None and each.old.mode == SUBMODULE:
            self._never.append(f"{printable_path(each.path)}  (a submodule)")
            return
        if each.new is not None and not self._parents(each.path):
            return
        place = self._top / each.path
        if place.is_dir() and not place.is_symlink():
            self.marks[each.path] = None
            if each.new is not None:
                self._folder(each.path)
        else:
            self._file(each.path, each.old)

    def judge(self, *, replace_ignored: bool) -> None:
        """Raises ContentError for what is in the way."""
        if self._never:
            raise ContentError(
                f"{_some(len(self._never))} in the way, and can't be saved",
                expected="files that git can keep, where the restored state has others",
                hint="move them away, or restore with --into DIR",
                places=_places(self._never),
            )
        if self._ignored and not replace_ignored:
            raise ContentError(
                f"{_some(len(self._ignored))} in the way that git ignores",
                expected="ignored files only where the restored state has none",
                hint="move them away, or add --replace-ignored: then they are saved and replaced",
                places=_places([printable_path(path) for path in self._ignored]),
            )

    def _parents(self, path: str) -> bool:
        """False when something else than a folder is where the file needs one, or the folder is another repository's."""
        above = ""
        for name in path.split("/")[:-1]:
            above = f"{above}/{name}" if above else name
            if above in self._entered:
                continue
            try:
                found = os.lstat(self._top / above)
            except FileNotFoundError:
                return True
            if not stat.S_ISDIR(found.st_mode):
                if above not in self.marks and above not in self._gone:
                    self._file(above, None)
                return True
            if os.path.lexists(self._top / above / ".git"):
                self._never.append(f"{printable_path(path)}  (inside the repository {printable_path(above)})")
                return False
            self._entered.add(above)
        return True

    def _folder(self, path: str) -> None:
        for inside in self._files_in(path):
            if inside not in self._gone:
                self._file(inside, None)

    def _files_in(self, path: str) -> Iterator[str]:
        for top, folders, files in os.walk(self._top / path):
            here = os.path.relpath(top, self._top)
            if ".git" in folders or ".git" in files:
                self._never.append(f"{printable_path(here)}  (a repository)")
                folders.clear()
                continue
            links = [name for name in folders if os.path.islink(os.path.join(top, name))]
            yield from (f"{here}/{name}" for name in (*files, *links))

    def _file(self, path: str, known: Entry | None) -> None:
        mark = mark_of(encode_path(str(self._top / path)))
        self.marks[path] = mark
        if mark is None:
            return
        there = self.working.entry(path)
        if there is None or not self._whole(path, there):
            self._never.append(f"{printable_path(path)}  ({self._why(path)})")
        elif there != known:
            self.unsaved[path] = there
            if known is None:
                self._ignored.append(path)

    def _whole(self, path: str, entry: Entry) -> bool:
        """Whether what git keeps of it is all of it: a filter that isn't run here, or a pointer to it, is not."""
        return not self.working.external_filter(path) or entry.blob == self.working.raw(path)

    def _why(self, path: str) -> str:
        name = self.working.external_filter(path)
        return f"its content is not what git keeps: {name}" if name else "neither a file nor a link"


def _saved(store: ObjectStore, trees: Trees, base: Base, look: _Look) -> Base:
    """On top of what the import saved: files that git ignores, or was told not to look at."""
    tree, folders = trees.edited(base.tree, look.unsaved)
    when = parse_commit(base.commit, store.read(base.commit)).time
    message = f"{len(look.unsaved)} files that git does not look at"
    commit = new_commit(tree, [base.commit], message, {}, when)
    store.write([*look.working.new, *folders, commit])
    names = tuple(dict.fromkeys((*base.dirty, *map(printable_path, look.unsaved))))
    return Base(commit=CommitId(commit.id), tree=tree, head=base.head, branch=base.branch, dirty=names)


def _some(number: int) -> str:
    return "1 file is" if number == 1 else f"{number} files are"


def _places(names: list[str]) -> tuple[str, ...]:
    more = (f"... and {len(names) - _NAMED} more",) if len(names) > _NAMED else ()
    return (*sorted(names)[:_NAMED], *more)
