"""A project's objects on their way to another installation: packed as git packs them, checked one by one before they are let in.

What travels is what the roots reach: results, states in between and the history that blame needs, but not the user's other branches or
stashes, although the store shares the user's files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pygit2

from cavalcade.content.linking import end_history, shallow_commits
from cavalcade.content.objects import SUBMODULE, Kind, parse_commit, parse_tree
from cavalcade.content.objectstore import ObjectStore, sync_folder
from cavalcade.content.references import References
from cavalcade.content.trees import EMPTY_TREE
from cavalcade.kernel.errors import ContentError, ObjectMissing, VersionConflict
from cavalcade.kernel.ids import CommitId

RUNS = "refs/runs/"
_KINDS: dict[int, Kind] = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_COPY_BYTES = 1 << 20


class Pack(NamedTuple):
    """A pack with its index. `shallow` are the commits in it whose parents are missing on purpose (see git's `shallow` file)."""

    pack: Path
    idx: Path
    objects: int
    shallow: tuple[str, ...]


def run_references(folder: Path) -> dict[str, CommitId]:
    """The references of all runs in the content store at `folder`, sorted by name; empty when there is no store."""
    if not (folder / "HEAD").exists():
        return {}
    repository = ObjectStore(folder).repository
    names = sorted(name for name in repository.references if name.startswith(RUNS))
    return {name: CommitId(str(repository.lookup_reference(name).target)) for name in names}


def set_run_references(folder: Path, wanted: Mapping[str, CommitId]) -> list[str]:
    """Sets those that are not there yet, in the content store at `folder`; the names of those that are elsewhere and stay there.

    Raises ContentError, ObjectMissing.
    """
    references = References(ObjectStore(folder))
    different: list[str] = []
    for name, commit in wanted.items():
        try:
            references.set(name, commit, None)
        except VersionConflict:
            different.append(name)
    return different


def known_objects(folder: Path, names: Iterable[str]) -> set[str]:
    """Those of `names` that the content store at `folder` holds."""
    if not (folder / "HEAD").exists():
        return set()
    store = ObjectStore(folder)
    return {name for name in names if name == EMPTY_TREE or store.exists(name)}


def read_object(folder: Path) -> Callable[[str], bytes]:
    """Reads from the content store at `folder`. Raises ObjectMissing."""
    return ObjectStore(folder).read


def pack_objects(folder: Path, roots: Iterable[str], into: Path, *, git: str = "") -> Pack:
    """Packs all that `roots` reach in the content store at `folder` into the existing folder `into`.

    `git` is the program, if there is one: it takes over what is packed already and is many times faster on a long history.
    Raises ObjectMissing, naming what the store lacks; ContentError when it can't be written.
    """
    store = ObjectStore(folder)
    shallow = shallow_commits(folder)
    reached = reach(store.read, _header(store.repository.odb), roots, shallow)
    pack, index = _packed_by_git(git, folder, reached, into) or write_pack(store.repository, reached, into)
    return Pack(pack, index, len(reached), tuple(sorted(shallow & reached)))


def _packed_by_git(git: str, folder: Path, names: Iterable[str], into: Path) -> tuple[Path, Path] | None:
    """None when it can't or won't: then libgit2 does it, and says what is wrong."""
    if not git:
        return None
    done = subprocess.run(
        [git, "-C", str(folder), "pack-objects", "-q", str(into / "pack")],
        input="".join(f"{name}\n" for name in sorted(names)),
        env={"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    pack = into / f"pack-{done.stdout.strip()}.pack"
    return (pack, pack.with_suffix(".idx")) if done.returncode == 0 and pack.exists() else None


def write_pack(repository: pygit2.Repository, names: Iterable[str], into: Path) -> tuple[Path, Path]:
    """A pack of these objects and its index, in a new folder below `into`. Raises ObjectMissing."""
    folder = Path(tempfile.mkdtemp(prefix="pack-", dir=into))
    try:
        builder = pygit2.PackBuilder(repository)
        builder.set_threads(0)  # as many as there are processors
        for name in sorted(names):
            builder.add(pygit2.Oid(hex=name))
        builder.write(str(folder))
    except KeyError as exc:
        raise ObjectMissing(
            f"object {exc} is not in {repository.path}",
            hint="`git fsck` there names what is missing or damaged; bring it back from a backup",
        ) from exc
    except (OSError, pygit2.GitError) as exc:
        raise ContentError(
            f"the objects of {repository.path} can't be packed: {exc}",
            hint="make room on the disk; if there is some, `git fsck` there names what is damaged",
        ) from exc
    (pack,) = folder.glob("*.pack")
    return pack, pack.with_suffix(".idx")


Header = Callable[[str], Kind | None]
"""The kind of an object, None when there is none by that name."""


def _header(odb: pygit2.Odb) -> Header:
    def kind(name: str) -> Kind | None:
        try:
            return _KINDS.get(odb.read_header(pygit2.Oid(hex=name))[0])
        except (KeyError, ValueError, pygit2.GitError):
            return None

    return kind


def reach(read: Callable[[str], bytes], header: Header, roots: Iterable[str], shallow: Iterable[str] = ()) -> set[str]:
    """Every object that `roots` name, directly or through others; submodules and the empty tree left out. Raises ObjectMissing."""
    found: set[str] = set()
    ends = set(shallow)
    waiting: list[tuple[str, str]] = [(name, "") for name in roots]
    while waiting:
        name, by = waiting.pop()
        if name in found or name == EMPTY_TREE:
            continue
        kind = header(name)
        if kind is None:
            raise ObjectMissing(f"object {name}{f', named by {by},' if by else ''} is missing")
        found.add(name)
        try:
            waiting.extend((part, name) for part in _parts(name, kind, read, ends))
        except ValueError as exc:
            raise ContentError(f"object {name} is no {kind}: {exc}") from exc
    return found


def _parts(name: str, kind: Kind, read: Callable[[str], bytes], ends: set[str]) -> Iterator[str]:
    if kind == "commit":
        info = parse_commit(CommitId(name), read(name))
        yield info.tree
        if name not in ends:
            yield from info.parents
    elif kind == "tree":
        for entry in parse_tree(read(name)).values():
            if entry.mode != SUBMODULE:
                yield entry.blob
    elif kind == "tag":
        yield read(name).split(b"\n", 1)[0].removeprefix(b"object ").decode()


class Arrived:
    """A pack that came from elsewhere, laid out in the scratch folder `scratch` until it is known to be good."""

    def __init__(self, pack: Path, index: Path, scratch: Path) -> None:
        self._store = ObjectStore(scratch)
        self._base = scratch / "objects" / "pack" / "pack-arrived"
        os.replace(pack, self._base.with_suffix(".pack"))
        os.replace(index, self._base.with_suffix(".idx"))
        self._names: list[str] = []

    def check(self, roots: Iterable[str], shallow: Iterable[str], *, objects: int) -> None:
        """Reads every object and compares it with its name; then follows the roots. Raises ContentError, ObjectMissing."""
        odb = self._store.repository.odb
        try:
            self._names = [str(oid) for oid in odb]
        except pygit2.GitError as exc:
            raise ContentError(f"the pack and its index don't belong together: {exc}") from exc
        if len(self._names) != objects:
            raise ContentError(f"the pack has {len(self._names)} objects", expected=f"{objects}")
        for name in self._names:
            kind, data = self._read(odb, name)
            if hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).hexdigest() != name:
                raise ContentError(f"object {name} of the pack has another content")
        self.follow(roots, shallow)

    def follow(self, roots: Iterable[str], shallow: Iterable[str]) -> None:
        """Raises ObjectMissing unless everything that `roots` name is in the pack."""
        reach(self._store.read, _header(self._store.repository.odb), roots, shallow)

    def read(self, name: str) -> bytes:
        """Raises ObjectMissing."""
        return self._store.read(name)

    def _read(self, odb: pygit2.Odb, name: str) -> tuple[Kind, bytes]:
        try:
            kind, data = odb.read(pygit2.Oid(hex=name))
        except (KeyError, ValueError, pygit2.GitError) as exc:
            raise ContentError(f"object {name} of the pack can't be read: {exc}") from exc
        return _KINDS[int(kind)], data

    def install(self, folder: Path, shallow: Iterable[str]) -> int:
        """Brings what the content store at `folder` lacks into it, after `check`; how many objects. Durable on return.

        Made when absent. Doing it again, or two at once, changes nothing. Raises ContentError.
        """
        target = ObjectStore(folder)
        missing = [name for name in self._names if not target.exists(name)]
        if not missing:
            return 0
        pack, index = self._base.with_suffix(".pack"), self._base.with_suffix(".idx")
        if len(missing) < len(self._names):
            pack, index = write_pack(self._store.repository, missing, self._store.folder)
        try:
            # Before the objects: walks would fail at a commit whose parents are missing.
            end_history(folder, set(shallow) & set(missing))
            install_pack(pack, index, target.objects / "pack")
        except OSError as exc:
            raise ContentError(
                f"can't write to the content store {folder}: {exc.strerror}",
                expected="a writable folder with space left",
                hint="make room and import again; what was there before is as it was",
            ) from exc
        return len(missing)


def install_pack(pack: Path, index: Path, folder: Path) -> None:
    """Copies them into the folder of a store's packs, durably.

    The pack before its index: a pack without an index is not looked at, an index without its pack is an error.
    """
    with pack.open("rb") as file:
        name = f"pack-{hashlib.file_digest(file, 'sha1').hexdigest()}"
    for source, target in ((pack, folder / f"{name}.pack"), (index, folder / f"{name}.idx")):
        _copy(source, target)
    sync_folder(folder)


def _copy(source: Path, target: Path) -> None:
    handle, temporary = tempfile.mkstemp(prefix="tmp_pack_", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as out, source.open("rb") as data:
            shutil.copyfileobj(data, out, _COPY_BYTES)
            out.flush()
            os.fchmod(out.fileno(), 0o444)
            os.fsync(out.fileno())
        os.rename(temporary, target)
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
