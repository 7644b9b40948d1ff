"""Secrets are taken out before anything is recorded: each becomes a visible mark such as `[redacted:github-token]`.

    Redactor(environment).redact(text)        one text
    StreamRedactor(redactor)                  a stream of output, piece by piece

Found are: the values of configured credentials, also URL-encoded, in base64 and in HTML; keys whose makers gave them a shape; private
keys; passwords in addresses and headers; what is assigned to the name of a secret and looks drawn. All of these also with JSON
escapes, in JSON within JSON, and broken over lines. A mark is never a hash: what is short could be guessed from one.

Not found: a password that is a plain word, is nowhere configured and is named by nothing; a secret in an encoding that is not named here.
Left alone: git object names, digests, UUIDs, ids, images in base64, code. The cost is linear in the text.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from cavalcade.kernel.secret_assignments import ASSIGNED, WORDS, find_assignments
from cavalcade.kernel.secret_shapes import (
    Found,
    find_private_keys,
    find_shapes,
    find_wrapped,
    is_placeholder,
    shapes_in,
)
from cavalcade.kernel.text_views import joined, views

LEAST = 8
"""Characters of a configured value; a shorter one would be found in innocent places."""
_CREDENTIAL = re.compile(
    r"(?:^|_)(?:KEY|PASS|PWD|AUTH|PAT|COOKIE)$|SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|"
    r"ACCOUNT_?KEY|CONNECTION_?STRING",
    re.IGNORECASE,
)
_PUBLIC = re.compile(r"^GPG_KEY$|PUBLIC|_(?:FILE|PATH|DIR|URL|NAME|ID|SOCK)$", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"://[^\s/?#:@]{0,100}+:([^\s/?#@]{8,200}+)@")
_REWRITTEN = re.compile(r"\\[ux/]|\x1b")
"""Escapes within which a word of a secret may be hidden."""
_JOINTS = re.compile(r"\\++(?:[nrt]|\")(?:\\++[nrt])*+[ ]*+|[\r\n]++[ \t]*+")
_WORD = re.compile(r"[A-Za-z]?[a-z]*(?:[ _-][A-Za-z]?[a-z]*)*|[A-Z_]+|[0-9.:-]+|[~.]?/[\w./-]*")


_PASSES = 4
"""Where two secrets touched, the second begins a word only once the first is gone."""


class Redacted(NamedTuple):
    """`kinds` has one for each mark; empty: the text is as it was."""

    text: str
    kinds: tuple[str, ...]


def mark(kind: str) -> str:
    return f"[redacted:{kind}]"


def credentials_in(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of some variables that are secrets by their name, and passwords in addresses. Words, numbers and paths are none."""
    found: dict[str, str] = {}
    for name, given in variables.items():
        value = given.strip()
        if address := _IN_ADDRESS.search(value):
            value = address[1]
        elif not _CREDENTIAL.search(name) or _PUBLIC.search(name):
            continue
        if len(value) >= LEAST and not _WORD.fullmatch(value) and not is_placeholder(value):
            found[name] = value
    return found


class Redactor:
    """Takes secrets out of texts. Immutable: the same text always becomes the same.

    `configured` maps names of variables to their values, as an environment does; which of them are credentials is told by the names.
    """

    def __init__(self, configured: Mapping[str, str]) -> None:
        self.configured = dict(configured)
        self._needles: dict[str, str] = {}
        for name, value in credentials_in(configured).items():
            kind = "configured:" + re.sub(r"[^A-Za-z0-9_]", "_", name)
            for written in _ways_to_write(value):
                self._needles.setdefault(written, kind)
        self._in_escapes = any(
            not needle.isprintable() or not needle.isascii() or set(needle) & {'"', "'", "\\"}
            for needle in self._needles
        )

    def also(self, configured: Mapping[str, str]) -> Redactor:
        """One that knows these, too."""
        return Redactor({**self.configured, **configured})

    def redact(self, text: str) -> Redacted:
        """Doing it again changes nothing. A JSON text stays one, with the same structure."""
        kinds: list[str] = []
        for _ in range(_PASSES):
            found = self.find(text)
            if not found:
                break
            text = marked(text, found, 0, len(text))
            kinds += (secret.kind for secret in found)
        return Redacted(text, tuple(kinds))

    def find(self, text: str) -> list[Found]:
        """The secrets of a text, in order, none overlapping another."""
        if not self._may_hold(text):
            return []
        found: list[Found] = []
        for view in views(text):
            found += (
                _in_original(text, secret, *view.origin(secret.start, secret.end)) for secret in self._find(view.text)
            )
            if (flat := joined(view)) is not None and flat.breaks:
                found += (
                    _in_original(text, secret, *flat.origin(secret.start, secret.end))
                    for secret in self._find_wrapped(flat.text, flat.breaks)
                )
        return _merged(found) if found else found

    def _may_hold(self, text: str) -> bool:
        """Whether to look closely: said in microseconds, and never no of a text with a secret, however that is escaped or wrapped."""
        if "\\" in text or "\n" in text or "\x1b" in text:
            if self._in_escapes or _REWRITTEN.search(text):
                return True
            text = f"{text}\0{_without_joints(text)}"
        lowered = text.lower()
        for needle in self._needles:
            if needle in text:
                return True
        for word in WORDS:
            if word in lowered:
                return True
        return next(shapes_in(text, lowered), None) is not None

    def _find(self, text: str) -> Iterator[Found]:
        lowered = text.lower()
        yield from self._find_configured(text)
        yield from find_shapes(text, lowered)
        if any(word in lowered for word in WORDS):
            yield from find_private_keys(text)
            yield from find_assignments(text, lowered)

    def _find_wrapped(self, text: str, breaks: list[int]) -> Iterator[Found]:
        yield from find_wrapped(text, text.lower(), breaks)
        yield from self._find_configured(text)

    def _find_configured(self, text: str) -> Iterator[Found]:
        for needle, kind in self._needles.items():
            start = text.find(needle)
            while start >= 0:
                end = start + len(needle)
                yield Found(start, end, kind)
                start = text.find(needle, end)


def _without_joints(text: str) -> str:
    """Without escapes, and line breaks, at which a word may be interrupted. In JSON without indents that is a matter of substrings."""
    if "\n" in text or "\\n " in text or "\\t" in text:
        return _JOINTS.sub("", text)
    return text.replace("\\n", "").replace("\\r", "").replace("\\", "")


def _ways_to_write(value: str) -> dict[str, None]:
    """The value, and what it looks like in an address, in HTML and within base64, wherever it begins there."""
    ways = [value, quote(value, safe=""), quote(value), quote_plus(value), html.escape(value)]
    data = value.encode("utf-8", "surrogateescape")
    for before in range(3):
        # A character of base64 stands for 6 bits: those that hold bits of what is before or after are left out.
        first, after = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        padded = b"\0" * before + data
        ways += (encode(padded).decode()[first:after] for encode in (b64encode, urlsafe_b64encode))
    return dict.fromkeys(ways)


def _in_original(text: str, secret: Found, start: int, end: int) -> Found:
    """Never half of an escape, so that JSON stays JSON."""
    before, inside = text[:start] if start < 64 else text[start - 64 : start], text[start:end]
    if (len(before) - len(before.rstrip("\\"))) % 2:
        start += 1
    if (len(inside) - len(inside.rstrip("\\"))) % 2:
        end -= 1
    return Found(start, end, secret.kind)


def _merged(found: list[Found]) -> list[Found]:
    """Where several overlap, one mark: of the kind that says most."""
    merged: list[Found] = []
    for secret in sorted(secret for secret in found if secret.start < secret.end):
        last = merged[-1] if merged else None
        if last is None or secret.start >= last.end:
            merged.append(secret)
        else:
            kind = min(last.kind, secret.kind, key=_vagueness)
            merged[-1] = Found(last.start, max(last.end, secret.end), kind)
    return merged


def _vagueness(kind: str) -> int:
    if kind.startswith("configured:"):
        return 0
    return 2 if kind in (ASSIGNED, "api-key", "authorization", "bearer-token", "basic-credentials") else 1


def marked(text: str, found: list[Found], start: int, end: int) -> str:
    """A part of a text with marks in place of what was found, where it lies in the part."""
    parts: list[str] = []
    for secret in found:
        if secret.end > start and secret.start < end:
            parts += (text[start : max(secret.start, start)], mark(secret.kind))
            start = min(secret.end, end)
    parts.append(text[start:end])
    return "".join(parts)
