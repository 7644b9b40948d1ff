"""What secrets look like: keys whose makers gave them a shape, private keys, passwords in addresses and headers.

Each shape has a word that stands in every text which holds one, so that a text without any of the words is done with quickly. Patterns
are linear: every repetition is possessive or of a fixed count, and what can fail after a long one begins only where a word begins;
`tests/unit/test_redaction_bounds.py` takes the patterns apart to see to it.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple


class Found(NamedTuple):
    """Characters `start` to `end` of a text are a secret of this kind."""

    start: int
    end: int
    kind: str


class Shape(NamedTuple):
    """`word` is in every text that matches, whatever its case if it has no capitals.

    The secret is the pattern's group 1, or the whole match without one. `token`: one run of characters, which a program may have
    wrapped at the end of a line.
    """

    kind: str
    word: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]
    token: bool


def _any(_value: str) -> bool:
    return True


def looks_drawn(value: str) -> bool:
    """Digits among letters: drawn at random, not written by a person."""
    return _DIGIT.search(value) is not None and _LETTER.search(value) is not None


_DIGIT, _LETTER = re.compile(r"[0-9]"), re.compile(r"[A-Za-z]")


def _is_user_and_password(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False


_PLACEHOLDER = re.compile(
    r"[*.xX•_-]++$|[$%<{\[(]|&lt;|(?:your|my|the|some|an?)[-_ ]|example|changeme|placeholder|dummy|redacted|insert|"
    r"(?:none|null|nil|true|false|undefined|required|optional|string|secret|passw(?:or)?d|pass|pwd|token|key|hidden|empty)$",
    re.IGNORECASE,
)


def is_placeholder(value: str) -> bool:
    """Stands where a secret would stand: a variable, `***`, `your-key`, a mark of ours, a word for the thing itself."""
    return not value or _PLACEHOLDER.match(value) is not None


def _is_password(value: str) -> bool:
    return not is_placeholder(value)


def _is_bearer(value: str) -> bool:
    return looks_drawn(value) and not is_placeholder(value)


def _shape(kind: str, word: str, pattern: str, holds: Callable[[str], bool] = _any, *, token: bool = True) -> Shape:
    return Shape(kind, word, re.compile(pattern), holds, token)


_L = r"(?<![A-Za-z0-9])"
"""Begins here, and not inside a longer word."""
_W = r"(?<![A-Za-z0-9_-])"
_URLSAFE = "[A-Za-z0-9_-]"

SHAPES: tuple[Shape, ...] = (
    _shape("anthropic-key", "sk-ant-", rf"{_L}sk-ant-{_URLSAFE}{{20,}}+"),
    _shape("openrouter-key", "sk-or-", rf"{_L}sk-or-{_URLSAFE}{{20,}}+"),
    _shape("openai-key", "sk-", rf"{_L}sk-(?:proj|svcacct|admin|None)-{_URLSAFE}{{20,}}+"),
    _shape("api-key", "sk-", rf"{_L}sk-[A-Za-z0-9]{{24,}}+", looks_drawn),
    *(
        _shape("github-token", word, rf"{_L}{word}[A-Za-z0-9]{{36,}}+")
        for word in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")
    ),
    _shape("github-token", "github_pat_", rf"{_L}github_pat_[A-Za-z0-9_]{{22,}}+"),
    *(
        _shape("gitlab-token", word, rf"{_L}{word}[A-Za-z0-9_.-]{{20,}}+")
        for word in ("glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glagent-", "gloas-", "glsoat-", "glimt-")
    ),
    *(_shape("aws-access-key", word, rf"{_L}{word}[A-Z2-7]{{16}}(?![A-Za-z0-9])") for word in ("AKIA", "ASIA")),
    *(
        _shape(
            "aws-secret-key",
            word,
            rf"{word}[A-Z2-7]{{16}}[\"'\s,:;|]{{1,8}}+([A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
            token=False,
        )
        for word in ("AKIA", "ASIA")
    ),
    _shape("google-key", "AIza", rf"{_L}AIza{_URLSAFE}{{35}}(?!{_URLSAFE})"),
    _shape("google-secret", "GOCSPX-", rf"{_L}GOCSPX-{_URLSAFE}{{28,}}+"),
    _shape("google-token", "ya29.", rf"{_L}ya29\.{_URLSAFE}{{20,}}+"),
    *(
        _shape("slack-token", word, rf"{_L}{word}[A-Za-z0-9-]{{10,}}+", looks_drawn)
        for word in ("xoxb-", "xoxp-", "xoxa-", "xoxs-", "xoxr-", "xoxe-", "xoxc-", "xoxo-")
    ),
    _shape("slack-token", "xapp-", rf"{_L}xapp-[0-9]-[A-Za-z0-9-]{{20,}}+"),
    _shape(
        "slack-webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9/]{20,}+)"
    ),
    *(_shape("stripe-key", word, rf"{_L}[sr]{word}[A-Za-z0-9]{{16,}}+") for word in ("k_live_", "k_test_")),
    _shape("stripe-secret", "whsec_", rf"{_L}whsec_[A-Za-z0-9+/=]{{24,}}+"),
    _shape("npm-token", "npm_", rf"{_L}npm_[A-Za-z0-9]{{36}}(?![A-Za-z0-9])"),
    _shape("pypi-token", "pypi-AgE", rf"{_L}pypi-AgE{_URLSAFE}{{40,}}+"),
    _shape("huggingface-token", "hf_", rf"{_L}hf_[A-Za-z0-9]{{30,}}+"),
    _shape("groq-key", "gsk_", rf"{_L}gsk_[A-Za-z0-9]{{40,}}+"),
    _shape("xai-key", "xai-", rf"{_L}xai-[A-Za-z0-9]{{60,}}+"),
    _shape("perplexity-key", "pplx-", rf"{_L}pplx-[A-Za-z0-9]{{40,}}+"),
    _shape("replicate-token", "r8_", rf"{_L}r8_[A-Za-z0-9]{{36,}}+"),
    _shape("nvidia-key", "nvapi-", rf"{_L}nvapi-{_URLSAFE}{{40,}}+"),
    _shape("digitalocean-token", "_v1_", rf"{_L}do[opr]_v1_[0-9a-f]{{64}}(?![0-9a-f])"),
    _shape("docker-token", "dckr_", rf"{_L}dckr_[op]at_{_URLSAFE}{{20,}}+"),
    _shape("sendgrid-key", "SG.", rf"{_L}SG\.{_URLSAFE}{{22}}\.{_URLSAFE}{{43}}(?!{_URLSAFE})"),
    _shape("telegram-token", ":AA", rf"(?<![0-9])[0-9]{{8,10}}+:AA{_URLSAFE}{{33}}(?!{_URLSAFE})"),
    _shape("databricks-token", "dapi", rf"{_L}dapi[0-9a-f]{{32}}(?![0-9a-f])"),
    *(
        _shape("shopify-token", word, rf"{_L}{word}[0-9a-fA-F]{{32}}(?![0-9a-fA-F])")
        for word in ("shpat_", "shpca_", "shppa_", "shpss_")
    ),
    *(_shape("vault-token", word, rf"{_L}{word[:3]}\.{_URLSAFE}{{24,}}+") for word in ("hvs.", "hvb.", "hvr.")),
    _shape("azure-secret", "8Q~", r"(?<![A-Za-z0-9_.~-])[A-Za-z0-9_.~-]{3}8Q~[A-Za-z0-9_.~-]{34}(?![A-Za-z0-9_.~-])"),
    _shape("azure-signature", "sig=", r"[?&;]sig=([A-Za-z0-9%/+_-]{40,}+=*+)"),
    _shape("age-key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _shape("jwt", "eyJ", rf"{_W}eyJ{_URLSAFE}{{8,4096}}+\.eyJ{_URLSAFE}{{4,8192}}+(?:\.{_URLSAFE}*+){{1,4}}+"),
    _shape(
        "url-password",
        "@",
        r"://[^\s/?#:@\"'<>\\]{0,100}+:([^\s/?#@\"'<>\\]{1,200}+)@",
        _is_password,
        token=False,
    ),
    _shape(
        "authorization",
        "authorization",
        r"(?i:authorization)[\"']?+[ \t]{0,4}+[:=,][ \t]{0,4}+[\"']?+(?:(?i:bearer|basic|token|digest|negotiate|apikey)[ \t]{1,4}+)?+"
        r"([A-Za-z0-9._~+/=-]{8,}+)",
        looks_drawn,
        token=False,
    ),
    _shape("bearer-token", "bearer ", r"(?i:bearer)[ \t]{1,4}+([A-Za-z0-9._~+/=-]{16,}+)", _is_bearer, token=False),
    _shape(
        "basic-credentials",
        "basic ",
        r"\b[Bb]asic[ \t]{1,4}+([A-Za-z0-9+/]{8,}+={0,2}+)",
        _is_user_and_password,
        token=False,
    ),
)

_BY_WORD: dict[str, tuple[Shape, ...]] = {
    word: tuple(shape for shape in SHAPES if shape.word == word)
    for word in dict.fromkeys(shape.word for shape in SHAPES)
}
_SIGNS = "_-.= "
_WITH_CAPITALS = tuple(word for word in _BY_WORD if word != word.lower())
_PLAIN = tuple(word for word in _BY_WORD if word == word.lower() and word[-1] not in _SIGNS)
_BEFORE: dict[str, dict[str, tuple[str, ...]]] = {
    sign: {
        word[-3:-1]: tuple(other for other in _BY_WORD if other.endswith(word[-3:]))
        for word in _BY_WORD
        if word == word.lower() and word.endswith(sign)
    }
    for sign in _SIGNS
}
"""Words that end in a sign, by the two characters before it. Splitting a text at the sign costs less than looking for each of them."""


def shapes_in(text: str, lowered: str) -> Iterator[Shape]:
    """Those whose words are there."""
    for sign, words_before in _BEFORE.items():
        if sign in lowered:
            for before in {piece[-2:] for piece in lowered.split(sign)}.intersection(words_before):
                for word in words_before[before]:
                    if word in lowered:
                        yield from _BY_WORD[word]
    for word in _PLAIN:
        if word in lowered:
            yield from _BY_WORD[word]
    if lowered != text:
        for word in _WITH_CAPITALS:
            if word in text:
                yield from _BY_WORD[word]


def find_shapes(text: str, lowered: str) -> Iterator[Found]:
    for shape in shapes_in(text, lowered):
        yield from _matches(shape, text)


def _matches(shape: Shape, text: str) -> Iterator[Found]:
    group = 1 if shape.pattern.groups else 0
    for match in shape.pattern.finditer(text):
        if shape.holds(match[group]):
            yield Found(*match.span(group), shape.kind)


def find_wrapped(text: str, lowered: str, breaks: list[int]) -> Iterator[Found]:
    """Tokens in a text whose line breaks, at `breaks`, were taken out: those that lie across one.

    A line belongs to the token when there is none without it, or when it goes on as drawn as before.
    """
    for shape in shapes_in(text, lowered):
        if not shape.token:
            continue
        everywhere = chain(_matches(shape, text), _at_line_starts(shape, text, breaks), _in_lines(shape, text, breaks))
        for found in everywhere:
            inner = breaks[bisect_right(breaks, found.start) : bisect_left(breaks, found.end)]
            if inner and (end := _end_of_wrapped(shape, text, found, inner)) > inner[0]:
                yield found._replace(end=end)


_LONGEST = 2048
"""Characters of a token that began with a line and is wrapped."""


def _at_line_starts(shape: Shape, text: str, breaks: list[int]) -> Iterator[Found]:
    """Where a line began a word begins, whatever stands before it now."""
    for start in breaks:
        if match := shape.pattern.match(text[start : start + _LONGEST]):
            group = 1 if shape.pattern.groups else 0
            if shape.holds(match[group]):
                yield Found(start + match.start(group), start + match.end(group), shape.kind)


_LINES = 4


def _in_lines(shape: Shape, text: str, breaks: list[int]) -> Iterator[Found]:
    """In a few lines alone: where the last of them ended a word ends, whatever stands behind it now."""
    edges = [0, *breaks, len(text)]
    for first, start in enumerate(edges):
        for end in edges[first + 2 : first + 1 + _LINES]:
            for found in _matches(shape, text[start:end]):
                yield Found(start + found.start, start + found.end, found.kind)


_GOES_ON = 16


def _end_of_wrapped(shape: Shape, text: str, found: Found, inner: list[int]) -> int:
    whole = False
    for at, after in zip(inner, [*inner[1:], found.end], strict=True):
        whole = whole or shape.pattern.fullmatch(text, found.start, at) is not None
        if whole and (after - at < _GOES_ON or not looks_drawn(text[at:after])):
            return at
    return found.end


_BEGIN = re.compile(r"-----BEGIN (?:[A-Z]{2,9}+ )?PRIVATE KEY(?: BLOCK)?+-----|PuTTY-User-Key-File-[0-9]: ")
_ENDS = ("-----END ", "Private-MAC: ")
_BASE64_ONLY = re.compile(r"[A-Za-z0-9+/=\s]*+")
_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}+")
_NEXT_LINE = re.compile(
    r"(?:\s{1,4}+(?:Proc-Type|DEK-Info|Comment|Version):[^\n]{0,200}+)*+[^A-Za-z0-9+/=]{0,8}+([A-Za-z0-9+/=]{16,}+)"
)
_LAST = re.compile(r"([A-Za-z0-9+/=]{1,15}+)[^A-Za-z0-9+/=]{0,8}+\Z")
PRIVATE_KEY = "private-key"


def find_private_keys(text: str) -> Iterator[Found]:
    """What lies between the marks of a PEM block (or PuTTY's); the marks stay, so that it can be seen what was there.

    Without an end mark, all base64 that follows, whatever separates its lines.
    """
    position, enclosed = 0, True
    while (begin := _BEGIN.search(text, position)) is not None:
        position = begin.end()
        end = _end_mark(text, position) if enclosed else -1
        enclosed = end >= 0
        if enclosed:
            yield from _enclosed(text, position, end)
            position = end
        else:
            while (line := _NEXT_LINE.match(text, position)) is not None:
                yield Found(*line.span(1), PRIVATE_KEY)
                position = line.end()


def _end_mark(text: str, start: int) -> int:
    """Where the next one begins; -1 when there is none."""
    return min((at for mark in _ENDS if (at := text.find(mark, start)) >= 0), default=-1)


_REST = 120
"""Characters of an unfinished line, or of an end mark, at the end of a text that is cut off."""


def open_private_key(text: str) -> tuple[int, int] | None:
    """The begin mark of a private key that is not at its end yet where the text is; None when there is none."""
    last = max(_BEGIN.finditer(text), key=re.Match[str].start, default=None)
    if last is None or _end_mark(text, last.end()) >= 0:
        return None
    position = last.end()
    while (line := _NEXT_LINE.match(text, position)) is not None:
        position = line.end()
    return last.span() if len(text) - position < _REST else None


def _enclosed(text: str, start: int, end: int) -> Iterator[Found]:
    """The key as one where nothing else lies between the marks, else line by line: the lines may be strings of a list."""
    body = text[start:end]
    lines = [line.span() for line in _LINE.finditer(body)]
    if not lines:
        return
    if _BASE64_ONLY.fullmatch(body):
        yield Found(start + len(body) - len(body.lstrip()), start + len(body.rstrip()), PRIVATE_KEY)
        return
    if last := _LAST.search(body, lines[-1][1]):
        lines.append(last.span(1))
    for first, after in lines:
        yield Found(start + first, start + after, PRIVATE_KEY)
