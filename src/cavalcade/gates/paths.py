"""What a path may look like in a tree that is going to be checked out anywhere: Linux, macOS, Windows.

Sources: git's `verify_path`, `is_ntfs_dotgit` and `is_hfs_dotgit`; Unicode TR 36 and TR 39 for names that look alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

_HFS_IGNORED = frozenset(map(chr, [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF]))
"""Code points that HFS+ leaves out when it compares names."""
_NTFS_TAIL = re.compile(r"[ .]*(:.*)?$", re.DOTALL)
"""Trailing dots and spaces, and alternate data streams, that NTFS leaves out."""
_GIT_NAMES = frozenset({".git", "git~1"})
_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_BYTES = 4096
_MAX_LINKS = 40
"""As many symlinks as Linux follows in one look-up."""

_LOOKALIKES = str.maketrans(
    dict(zip("асԁеһіјӏорԛѕԝхуγνοραιτυχκϲıɡ", "acdehijlopqswxyyvopaituxkcig", strict=True))
    | dict(zip("вкмнт", "bkmht", strict=True))
)
"""Lower-case letters of other scripts drawn like Latin ones (the part of TR 39's table that source paths could be forged with)."""

GIT_SETTINGS = (".gitmodules", ".gitattributes", ".gitignore", ".gitconfig", ".git-blame-ignore-revs", ".mailmap")
CI_FILES = (
    ".github/*", ".gitlab-ci*", ".gitlab/*", ".circleci/*", ".travis.y*ml", ".buildkite/*", ".drone.y*ml", ".woodpecker*",
    ".ci/*", "jenkinsfile*", "azure-pipelines*.y*ml", ".azure-pipelines/*", "appveyor.y*ml", ".appveyor.y*ml",
    "bitbucket-pipelines.y*ml", ".pre-commit-config.yaml", ".husky/*", ".cirrus.y*ml", "cloudbuild.y*ml", "codemagic.yaml",
)  # fmt: skip
LOCK_FILES = (
    "*.lock", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "bun.lockb", "go.sum", "pylock*.toml",
    "packages.lock.json", "gradle.lockfile", "package.resolved",
)  # fmt: skip
SECRETS = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", ".netrc", "_netrc",
    ".pypirc", ".npmrc", ".htpasswd", ".pgpass", ".git-credentials", ".dockercfg", ".ssh/*", ".gnupg/*", ".aws/*", ".kube/*",
)  # fmt: skip
_PUBLIC_ENV = (".env.example", ".env.sample", ".env.template", ".env.dist")


def malformed(path: str) -> str:
    """Why a path must not be in a tree at all; empty when it may."""
    if not path or len(path.encode("utf-8", "surrogateescape")) > _MAX_BYTES:
        return "is empty or longer than 4096 bytes"
    if path.startswith(("/", "\\")) or _DRIVE.match(path):
        return "is absolute"
    if any(unicodedata.category(c) == "Cc" for c in path):
        return "contains control characters"
    for part in path.replace("\\", "/").split("/"):
        if part in ("", ".", ".."):
            return f"contains the component {part!r}"
        if is_git_folder(part):
            return f"enters a git folder by {part!r}"
    return ""


def is_git_folder(part: str) -> bool:
    """Whether a component is `.git` to some file system."""
    visible = "".join(c for c in part if c not in _HFS_IGNORED).casefold()
    return visible in _GIT_NAMES or _NTFS_TAIL.sub("", visible) in _GIT_NAMES


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether the fence lets a path through: it stands there exactly, or below a `dir/**`. `**` alone is everything."""
    return any(
        path == pattern or pattern == "**" or (pattern.endswith("/**") and path.startswith(pattern[:-2]))
        for pattern in patterns
    )


def protection(path: str) -> str:
    """What kind of protected file a path is; empty when it is none. Such a path must be allowed by its exact name."""
    folded = fold(path)
    name = folded.rpartition("/")[2]
    if name in GIT_SETTINGS or folded.startswith(".githooks/"):
        return "git settings"
    if _any(folded, CI_FILES):
        return "CI"
    if _any(name, LOCK_FILES):
        return "lock file"
    if name in _PUBLIC_ENV:
        return ""
    if (
        _any(name, SECRETS)
        or _any_below(folded, SECRETS)
        or (name.startswith("id_") and name.removesuffix(".pub").isidentifier())
    ):
        return "secret"
    return ""


def fold(path: str) -> str:
    """The same text for paths that some file system or eye takes for the same."""
    if path.isascii():
        return path.lower()
    bare = "".join(c for c in path if unicodedata.category(c) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", bare).casefold())
    return folded.translate(_LOOKALIKES)


def collisions(new: Sequence[str], existing: Iterable[str]) -> dict[str, str]:
    """New paths that could be taken for others, with the other. Folders count: `SRC/a.py` collides with `src/b.py`.

    `existing` are all paths of the tree, the new ones included.
    """
    wanted = {fold(prefix) for path in new for prefix in _prefixes(path)}
    by_fold: dict[str, set[str]] = {}
    for path in existing:
        for prefix in _prefixes(path):
            folded = fold(prefix)
            if folded in wanted:
                by_fold.setdefault(folded, set()).add(prefix)
    found: dict[str, str] = {}
    for path in new:
        for prefix in _prefixes(path):
            others = sorted(by_fold.get(fold(prefix), set()) - {prefix})
            if others:
                found.setdefault(path, others[0])
    return found


def has_invisible(path: str) -> bool:
    """Format characters (zero width, direction marks): they change what a path looks like, never what it means."""
    return not path.isascii() and any(unicodedata.category(c) == "Cf" for c in path)


def mixes_scripts(path: str) -> bool:
    """Whether one component mixes Latin with Cyrillic or Greek letters, which no natural name does."""
    return not path.isascii() and any(len(_scripts(part)) > 1 for part in re.split(r"[/._-]", path))


def link_problem(link: str, links: Mapping[str, str]) -> str:
    """Where a symlink leads that it must not; empty when it stays inside. `links` are all symlinks of the tree, path to target."""
    at = link.split("/")[:-1]
    todo = _target_parts(links[link])
    followed = 1
    while todo is not None and todo:
        part = todo.pop(0)
        if part == "..":
            if not at:
                return "points outside the tree"
            at.pop()
            continue
        if is_git_folder(part):
            return "points into a git folder"
        at.append(part)
        further = links.get("/".join(at))
        if further is not None:
            followed += 1
            if followed > _MAX_LINKS:
                return "is part of a loop"
            at.pop()
            rest = _target_parts(further)
            todo = None if rest is None else rest + todo
    return "points outside the tree" if todo is None else ""


def _target_parts(target: str) -> list[str] | None:
    """The components of a symlink's target; None when it is absolute."""
    plain = target.replace("\\", "/")
    if plain.startswith("/") or _DRIVE.match(plain):
        return None
    return [part for part in plain.split("/") if part not in ("", ".")]


def _scripts(text: str) -> set[str]:
    names = (unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha())
    return {name for name in names if name in ("LATIN", "CYRILLIC", "GREEK")}


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _any(text: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def _any_below(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, f"*/{p}") or fnmatchcase(path, p) for p in patterns if "/" in p)
