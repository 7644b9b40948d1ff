"""A tree reader in memory: what gates, recipes and the code index are tested with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cavalcade.content.port import Entry
from cavalcade.kernel.canonical import digest_of
from cavalcade.kernel.errors import ObjectMissing
from cavalcade.kernel.ids import BlobId, TreeId

File = str | bytes | tuple[str | bytes, int]
"""Content, or content with git's file mode."""


class MemoryTree:
    """A `TreeReader` to which blobs and trees can be added. Blob ids are git's; tree ids only equal for equal trees."""

    def __init__(self) -> None:
        self._blobs: dict[BlobId, bytes] = {}
        self._trees: dict[TreeId, Mapping[str, Entry]] = {}

    def write(self, data: str | bytes) -> BlobId:
        raw = data.encode() if isinstance(data, str) else data
        blob = BlobId(hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest())
        self._blobs[blob] = raw
        return blob

    def tree(self, files: Mapping[str, File]) -> TreeId:
        """A tree of exactly these files."""
        entries: dict[str, Entry] = {}
        for path, file in files.items():
            data, mode = file if isinstance(file, tuple) else (file, 0o100644)
            entries[path] = Entry(self.write(data), mode)
        return self.tree_of(entries)

    def tree_of(self, entries: Mapping[str, Entry]) -> TreeId:
        rows = [[path.encode("utf-8", "surrogateescape").hex(), *entry] for path, entry in sorted(entries.items())]
        tree = TreeId(digest_of(rows)[:40])
        self._trees[tree] = dict(entries)
        return tree

    def entries(self, tree: TreeId) -> Mapping[str, Entry]:
        if tree not in self._trees:
            raise ObjectMissing(f"no tree {tree}", expected="a tree made by this reader")
        return self._trees[tree]

    def read(self, blob: BlobId) -> bytes:
        if blob not in self._blobs:
            raise ObjectMissing(f"no blob {blob}", expected="a blob written to this reader")
        return self._blobs[blob]
