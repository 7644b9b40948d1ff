"""Trees in memory: parsed once per id, flattened incrementally, compared by the subtrees that differ, edited by rebuilding those."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from cavalcade.content.objects import FOLDER, Object, check_path, new_tree, parse_tree, printable_path
from cavalcade.content.port import Difference, Entry
from cavalcade.kernel.errors import ObjectMissing, PathClash
from cavalcade.kernel.ids import BlobId, TreeId

EMPTY_TREE = TreeId("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

_FLAT_BUDGET = 500_000
"""Cached paths over all flattened trees: some 60 MB, or seventy states of a tree of 7,000 files."""
_PARSED_BUDGET = 200_000
"""Cached entries over all parsed tree objects."""


class _Cache:
    """Least recently used mappings, bounded by the number of their entries."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._size = 0
        self._items: OrderedDict[str, Mapping[str, Entry]] = OrderedDict()

    def get(self, key: str) -> Mapping[str, Entry] | None:
        found = self._items.get(key)
        if found is not None:
            self._items.move_to_end(key)
        return found

    def put(self, key: str, value: Mapping[str, Entry]) -> None:
        if key in self._items:
            return
        self._items[key] = value
        self._size += len(value)
        while self._size > self._budget and len(self._items) > 1:
            self._size -= len(self._items.popitem(last=False)[1])

    def newest(self) -> tuple[str, Mapping[str, Entry]] | None:
        return next(reversed(self._items.items()), None)


class Trees:
    """`read` gives a tree object's bytes. Safe for threads."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self._lock = threading.RLock()
        self._parsed = _Cache(_PARSED_BUDGET)
        self._flat = _Cache(_FLAT_BUDGET)

    def parsed(self, tree: str) -> Mapping[str, Entry]:
        """A tree's own entries, folders included."""
        if tree == EMPTY_TREE:
            return {}
        with self._lock:
            found = self._parsed.get(tree)
            if found is None:
                found = parse_tree(self._read(tree))
                self._parsed.put(tree, found)
            return found

    def flat(self, tree: TreeId) -> Mapping[str, Entry]:
        """Every file by its path, sorted. Costs the difference to the tree asked for last."""
        with self._lock:
            found = self._flat.get(tree)
            if found is None:
                near = self._flat.newest()
                found = self._flatten(near[0], dict(near[1]), tree) if near else self._flatten(EMPTY_TREE, {}, tree)
                self._flat.put(tree, found)
            return found

    def _flatten(self, near: str, files: dict[str, Entry], tree: TreeId) -> Mapping[str, Entry]:
        unsorted = False
        for path, _, new in self.differences(TreeId(near), tree):
            if new is None:
                del files[path]
            else:
                unsorted = unsorted or path not in files
                files[path] = new
        return MappingProxyType(dict(sorted(files.items())) if unsorted else files)

    def find(self, tree: TreeId, path: str) -> Entry | None:
        """The file (or submodule) at a path, without flattening the tree."""
        *folders, name = path.split("/")
        here: str = tree
        for folder in folders:
            entry = self.parsed(here).get(folder)
            if entry is None or entry.mode != FOLDER:
                return None
            here = entry.blob
        entry = self.parsed(here).get(name)
        return None if entry is None or entry.mode == FOLDER else entry

    def differences(self, old: TreeId, new: TreeId) -> Iterator[Difference]:
        """Files that differ; equal subtrees are not looked at."""
        if old != new:
            yield from self._compare("", old, new)

    def _compare(self, prefix: str, old: str | None, new: str | None) -> Iterator[Difference]:
        try:
            olds = self.parsed(EMPTY_TREE if old is None else old)
            news = self.parsed(EMPTY_TREE if new is None else new)
        except ObjectMissing as exc:
            raise exc.at((printable_path(prefix) or "the whole tree",)) from exc
        for name in olds.keys() | news.keys() if olds and news else olds or news:
            before, after = olds.get(name), news.get(name)
            if before == after:
                continue
            below = _subtree(before), _subtree(after)
            if any(below):
                yield from self._compare(f"{prefix}{name}/", *below)
            file_before, file_after = _file(before), _file(after)
            if file_before != file_after:
                yield Difference(prefix + name, file_before, file_after)

    def edited(self, tree: TreeId, changes: Mapping[str, Entry | None]) -> tuple[TreeId, list[Object]]:
        """The tree with `changes` (None removes), and its new tree objects, innermost first.

        Removing what isn't there changes nothing. Raises ContentError for an unsafe path, and when a path would be file and folder.
        """
        nested: _Nested = {}
        for path, entry in changes.items():
            check_path(path)
            _nest(nested, path, entry)
        made: list[Object] = []
        root = self._edit("", tree, nested, made)
        if root is None:
            empty = new_tree({})
            made.append(empty)
            root = empty.id
        return TreeId(root), made

    def _edit(self, prefix: str, tree: str | None, nested: _Nested, made: list[Object]) -> str | None:
        entries = dict(self.parsed(tree)) if tree else {}
        for name, step in nested.items():
            here = entries.get(name)
            if step.below:
                if here is not None and here.mode != FOLDER and step.removed:
                    del entries[name]
                    here = None
                if here is not None and here.mode != FOLDER:
                    if any(_adds(step.below)):
                        raise PathClash(prefix + name, shown=printable_path(prefix + name))
                else:
                    below = self._edit(f"{prefix}{name}/", here.blob if here else None, step.below, made)
                    entries.pop(name, None)
                    if below is not None:
                        entries[name] = Entry(BlobId(below), FOLDER)
            elif step.removed and here is not None and here.mode != FOLDER:
                del entries[name]
            if step.put is not None:
                if name in entries and entries[name].mode == FOLDER:
                    raise PathClash(prefix + name, shown=printable_path(prefix + name))
                entries[name] = step.put
        if not entries:
            return None
        result = new_tree(entries)
        if result.id != tree:
            made.append(result)
        return result.id


class _Step:
    """What changes at one name: the file removed, the file put, or things below it."""

    def __init__(self) -> None:
        self.removed = False
        self.put: Entry | None = None
        self.below: _Nested = {}


_Nested = dict[str, _Step]


def _nest(nested: _Nested, path: str, entry: Entry | None) -> None:
    *folders, name = path.split("/")
    for folder in folders:
        nested = nested.setdefault(folder, _Step()).below
    step = nested.setdefault(name, _Step())
    step.removed = entry is None
    step.put = entry


def _adds(nested: _Nested) -> Iterator[bool]:
    for step in nested.values():
        yield step.put is not None or any(_adds(step.below))


def _subtree(entry: Entry | None) -> str | None:
    return entry.blob if entry is not None and entry.mode == FOLDER else None


def _file(entry: Entry | None) -> Entry | None:
    return None if entry is None or entry.mode == FOLDER else entry
