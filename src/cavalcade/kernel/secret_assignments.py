"""Values that stand behind the name of a secret: `api_key = "..."`, `TOKEN: ...`, `--password=...`, in code, configuration and JSON.

A name alone is no secret, and most values behind such names are not: other names, types, calls, labels, counts. What counts as one has
digits among letters, or is quoted and no word; what a person would write as a stand-in does not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from cavalcade.kernel.secret_shapes import Found, is_placeholder, looks_drawn

ASSIGNED = "assigned-secret"
WORDS = ("passw", "passphr", "_pass", "pwd", "secret", "token", "key", "auth", "credential", "connection")
"""One of these, in lower case, is in every text that assigns a secret by name, or holds a private key."""

_NAME = re.compile(
    r"(?i:passw(?:or)?ds?|passphrase|_pass|pwd|secrets?|tokens?|api[_-]?+keys?|access[_-]?+key|account[_-]?+key|private[_-]?+key|encryption_key|"
    r"signing_key|master_key|credentials?|auth[_-]?+key|_auth|connection_?+string)"
    r"(?![a-z])((?:[A-Za-z0-9]|[_-][A-Za-z0-9]){0,40}+)"
    r"[\"'`\]]{0,3}+[ \t]{0,8}+(?:=>|:=|==?|:)[ \t]{0,8}+"
)
_QUOTED = re.compile(
    r"[rbfuRBFU]{0,2}+(?:\"((?:[^\"\\\r\n]|\\.){1,512}+)\"|'((?:[^'\\\r\n]|\\.){1,512}+)'|`((?:[^`\\\r\n]|\\.){1,512}+)`)"
)
_BARE = re.compile(r"[^\s\"'`,;<>(){}\[\]\\&|]{6,512}+(?![(\[{])")
_OPTION = re.compile(r"--?(?i:password|passwd|token|secret|api-?+key)[ =]([^\s\"'`,;<>(){}\[\]\\&|]{6,512}+)")

_NO_SECRET = re.compile(
    r"(?:^|[_-]|(?<=[a-z])(?=[A-Z]))(?i:count|hash|digest|url|uri|name|names|path|file|folder|dir|field|id|ids|type|length|len|limit|"
    r"expiry|expires|expiration|expire|ttl|policy|regex|pattern|prompt|input|label|usage|price|cost|budget|max|min|size|index|version|"
    r"algorithm|algo|format|scope|scopes|endpoint|header|prefix|suffix|provider|manager|class|re|at|in|used|ref|env|var)(?:$|[_-]|(?=[A-Z]))"
)
"""Behind the word, this names something about the secret."""
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_WORDS_ONLY = re.compile(r"[A-Za-z]+(?:[ _.:/-][A-Za-z]*)*[.!?…:]?")
_WORD_AND_NUMBER = re.compile(
    r"(?i:[\w.-]*?(?:passw(?:or)?d|pass|pwd|secret|token|key|test|user|value|foo|bar|abc)[\w.-]{0,2}?[0-9]{0,4})"
)
_CALL_OR_PATH = re.compile(
    r"(?:https?|file|ssh|git)://|[~.]{0,2}/?[\w.-]+(?:/[\w.-]+)+/?$|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+$|\W+$"
)
_SNAKE = re.compile(r"[a-z]++[0-9]{0,2}+(?:_[a-z]++[0-9]{0,2}+)++|[A-Z]++[0-9]{0,2}+(?:_[A-Z]++[0-9]{0,2}+)++")
_LONG = 32


def find_assignments(text: str, lowered: str) -> Iterator[Found]:
    for name in _names(text, lowered):
        if _NO_SECRET.search(name[1]):
            continue
        quoted = _QUOTED.match(text, name.end())
        if quoted is not None:
            group = quoted.lastindex or 0
            if is_secret(quoted[group]):
                yield Found(*quoted.span(group), ASSIGNED)
        elif (bare := _BARE.match(text, name.end())) is not None:
            value = bare[0].rstrip(".:!?")
            code = name[0].endswith((" ", "\t")) or text[bare.end() : bare.end() + 1] in {",", ")"}
            if _is_bare_secret(value, code=code):
                yield Found(bare.start(), bare.start() + len(value), ASSIGNED)
    if " -" in text:
        for option in _OPTION.finditer(text):
            if _is_bare_secret(option[1], code=False):
                yield Found(*option.span(1), ASSIGNED)


_BEFORE, _BEHIND = 12, 80
"""Characters around a word in which a name and its sign of assignment lie."""


def _names(text: str, lowered: str) -> Iterator[re.Match[str]]:
    """Looks with the pattern only where a word is: that is what makes a text without assignments cheap."""
    if len(lowered) != len(text):
        yield from _NAME.finditer(text)
        return
    for word in WORDS:
        at = lowered.find(word)
        while at >= 0:
            if name := _NAME.search(text, max(at - _BEFORE, 0), at + _BEHIND):
                yield name
            at = lowered.find(word, at + len(word))


def is_secret(value: str) -> bool:
    """Whether a quoted value behind the name of a secret is one."""
    if len(value) < 6 or is_placeholder(value) or _UUID.fullmatch(value) or value.isdigit() or "[redacted:" in value:
        return False
    if _WORDS_ONLY.fullmatch(value) and not _is_mixed(value):
        return False
    if _WORD_AND_NUMBER.fullmatch(value) or len(set(value)) < 5 or any(char in value for char in "{}\n"):
        return False
    if " " in value and not (looks_drawn(value) and value.count(" ") < 2):
        return False
    return not (_CALL_OR_PATH.match(value) and bits(value) < _LONG * 4)


def _is_bare_secret(value: str, *, code: bool) -> bool:
    """Without quotes, and where it may be `code`, a name is none: it has no digits among its letters as a drawn value has."""
    if not looks_drawn(value) or not is_secret(value):
        return False
    if not code:
        return not _SNAKE.fullmatch(value)
    return (
        len(value) >= 12
        and bits(value) >= len(value) * 2.75
        and not (value.replace(".", "").isidentifier() and _turns(value) < 3)
    )


def _turns(value: str) -> int:
    """How often a digit follows a letter, or a letter a digit."""
    return sum(a.isdigit() != b.isdigit() for a, b in pairwise(value))


def _is_mixed(value: str) -> bool:
    """Letters only, but drawn: capitals where no word begins."""
    return value.isalpha() and len(value) >= 16 and sum(a.islower() and b.isupper() for a, b in pairwise(value)) >= 4


def bits(value: str) -> float:
    """Shannon's entropy of the characters, in bits, over the whole length."""
    counts = Counter(value)
    return -sum(count * math.log2(count / len(value)) for count in counts.values())
