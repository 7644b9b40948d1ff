"""Loose objects put together into packs, as `git gc` would, without ever being unreadable meanwhile.

A pack is whole and on disk before the first loose object that it holds goes. Who looks for an object between the two finds it loose or,
not finding it, looks at the packs again. Killed anywhere, objects are there once or twice.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pygit2

from cavalcade.content.objectstore import ObjectStore, sync_folder
from cavalcade.content.packing import install_pack, write_pack
from cavalcade.kernel.errors import ContentError, ObjectMissing

ENOUGH = 6_700
"""Loose objects that make a pack worth its while: git's own `gc.auto`."""
_FOLDER = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"[0-9a-f]{38}")


def compact(store: ObjectStore, *, enough: int = ENOUGH) -> int:
    """Packs all loose objects when there are at least `enough`; how many. Raises ContentError when it can't be written, ObjectMissing.

    The pack is read back, object by object, before anything loose goes.
    """
    if _guessed(store.objects) < enough:
        return 0
    names = sorted(_loose(store.objects))
    for name in names:
        store.read(name)  # libgit2, which packs them, never comes back from one whose end is missing
    try:
        scratch = Path(tempfile.mkdtemp(prefix="tmp_compact_", dir=store.objects))
        try:
            pack, index = write_pack(store.repository, names, scratch)
            there = pack.parent.rename(scratch / "pack")
            _check(scratch, names)
            install_pack(there / pack.name, there / index.name, store.objects / "pack")
        finally:
            shutil.rmtree(scratch)
        for name in names:
            (store.objects / name[:2] / name[2:]).unlink(missing_ok=True)  # another process may be doing the same
        sync_folder(store.objects)
    except OSError as exc:
        raise ContentError(
            f"the objects of {store.folder} can't be packed: {exc.strerror}",
            expected="room for a second copy of what is new",
            hint="make room; nothing is lost",
        ) from exc
    return len(names)


def _guessed(objects: Path) -> int:
    """As git guesses: the names spread evenly over the folders."""
    try:
        return len(os.listdir(objects / "17")) * 256
    except FileNotFoundError:
        return 0


def _loose(objects: Path) -> list[str]:
    folders = [name for name in os.listdir(objects) if _FOLDER.fullmatch(name)]
    return [folder + name for folder in folders for name in os.listdir(objects / folder) if _NAME.fullmatch(name)]


def _check(objects: Path, names: list[str]) -> None:
    packed = pygit2.Odb(str(objects))
    for name in names:
        try:
            packed.read(name)
        except (KeyError, ValueError, pygit2.GitError) as exc:
            raise ObjectMissing(
                f"object {name} can't be read from the new pack: {exc}", hint="nothing was changed"
            ) from exc
