"""Which added file is which removed one: same bytes first, then the most similar lines (git's threshold, 50 %)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from cavalcade.content.lines import is_binary, split_lines
from cavalcade.content.objects import SUBMODULE, SYMLINK
from cavalcade.content.port import Entry
from cavalcade.kernel.ids import BlobId

_LEAST_SIMILARITY = 0.5
_MOST_PAIRS = 40_000
"""As git has a rename limit."""


def find_renames(
    removed: Mapping[str, Entry],
    added: Mapping[str, Entry],
    read: Callable[[BlobId], bytes],
    *,
    most_pairs: int = _MOST_PAIRS,
) -> dict[str, str]:
    """New path → old path. Each path is used once; submodules and empty files are never renames.

    Above `most_pairs` only equal contents are paired.
    """
    found: dict[str, str] = {}
    olds = {path: entry for path, entry in removed.items() if entry.mode != SUBMODULE}
    by_blob: dict[tuple[BlobId, bool], list[str]] = {}
    for path in sorted(olds, reverse=True):
        by_blob.setdefault((olds[path].blob, olds[path].mode == SYMLINK), []).append(path)
    for path in sorted(added):
        entry = added[path]
        same = by_blob.get((entry.blob, entry.mode == SYMLINK))
        if same and read(entry.blob):
            found[path] = _same_name_first(same, path)
            del olds[found[path]]
    news = {path: entry for path, entry in added.items() if path not in found}
    if olds and news and len(olds) * len(news) <= most_pairs:
        found |= _similar(olds, news, read)
    return found


def _same_name_first(olds: list[str], path: str) -> str:
    name = path.rpartition("/")[2]
    for at, old in enumerate(olds):
        if old.rpartition("/")[2] == name:
            return olds.pop(at)
    return olds.pop()


def _similar(olds: Mapping[str, Entry], news: Mapping[str, Entry], read: Callable[[BlobId], bytes]) -> dict[str, str]:
    before = _line_counts(olds, read)
    pairs: list[tuple[float, str, str]] = []
    for new, (lines, size) in _line_counts(news, read).items():
        for old, (old_lines, old_size) in before.items():
            if min(size, old_size) < _LEAST_SIMILARITY * max(size, old_size):
                continue
            common = sum(len(line) * min(count, old_lines[line]) for line, count in lines.items())
            if common >= _LEAST_SIMILARITY * max(size, old_size):
                pairs.append((-common / max(size, old_size), new, old))
    found: dict[str, str] = {}
    taken: set[str] = set()
    for _, new, old in sorted(pairs):
        if new not in found and old not in taken:
            found[new] = old
            taken.add(old)
    return found


def _line_counts(files: Mapping[str, Entry], read: Callable[[BlobId], bytes]) -> dict[str, tuple[Counter[bytes], int]]:
    counts: dict[str, tuple[Counter[bytes], int]] = {}
    for path, entry in files.items():
        data = b"" if entry.mode == SYMLINK else read(entry.blob)
        if data and not is_binary(data):
            counts[path] = Counter(split_lines(data)), len(data)
    return counts
