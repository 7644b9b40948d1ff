"""Redaction costs what the text is long, whatever the text: by the form of its patterns, and by the operations that are counted.

Bug class this catches: a pattern that a hostile output makes run for minutes, and a search that begins anew at every character.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from cavalcade.kernel import redaction, redaction_stream, secret_assignments, secret_shapes, text_views
from cavalcade.kernel.redaction import Redactor
from cavalcade.kernel.redaction_stream import StreamRedactor
from cavalcade.testing.secrets_corpus import CONFIGURED, CONFIGURED_NAME, private_key, tokens

_constants: Any = importlib.import_module("re._constants")
_parser: Any = importlib.import_module("re._parser")
SIZE = 16 * 1024
REDACTOR = Redactor({CONFIGURED_NAME: CONFIGURED})


def patterns() -> dict[str, re.Pattern[str]]:
    found = {f"{shape.kind} {shape.word}": shape.pattern for shape in secret_shapes.SHAPES}
    for module in (redaction, redaction_stream, secret_shapes, secret_assignments, text_views):
        found |= {
            f"{module.__name__}.{name}": value for name, value in vars(module).items() if isinstance(value, re.Pattern)
        }
    return found


ON_SHORT_VALUES = {"_WORD", "_WORDS_ONLY", "_WORD_AND_NUMBER", "_CALL_OR_PATH", "_CREDENTIAL", "_PUBLIC"}
"""Looked at only with names, and with values of at most 512 characters, from their beginning."""


def choices(tree: Any) -> Iterator[tuple[int, int]]:
    """Least and most of every repetition that can be taken back, in the order of the pattern; nested ones too."""
    for operator, argument in tree:
        if operator in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            least, most, inner = argument
            yield int(least), int(most)
            yield from choices(inner)
        elif operator is _constants.POSSESSIVE_REPEAT:
            yield from choices(argument[2])
        elif operator is _constants.SUBPATTERN:
            yield from choices(argument[3])
        elif operator in (_constants.ASSERT, _constants.ASSERT_NOT):
            yield from choices(argument[1])
        elif operator is _constants.BRANCH:
            for branch in argument[1]:
                yield from choices(branch)


@pytest.mark.parametrize("name", [name for name in patterns() if name.rpartition(".")[2] not in ON_SHORT_VALUES])
def test_nothing_that_was_matched_at_length_is_ever_taken_back(name: str) -> None:
    pattern = patterns()[name]
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    assert [(least, most) for least, most in choices(tree) if most - least > 4] == []


HOSTILE = {
    "backslashes": "\\",
    "escaped backslashes": "\\u005c",
    "quotes": '"',
    "escaped quotes": '\\"',
    "line ends": "\n",
    "short lines": "a1\n",
    "spaces": " ",
    "colours": "\x1b[0m",
    "begin marks": "-----BEGIN RSA PRIVATE" + " KEY-----\n",
    "end marks": "-----END RSA PRIVATE KEY-----",
    "addresses": "://a:b",
    "colons": ":",
    "JWT heads": "eyJ",
    "JWT parts": "eyJabcdefghij.",
    "key heads": "sk-",
    "key heads on lines": "sk-proj-\n",
    "half keys on lines": "gh" + "p_aB3dE5gH7\n",
    "names": "password=",
    "names and quotes": "password='",
    "options": " --token",
    "words": "authorization bearer basic ",
    "base64": "QUJD",
    "AWS heads": "AK" + "IA",
    "underscores": "_",
    "hyphens": "-",
    "digits": "1234567890:A" + "A",
    "Unicode": "\u0130\U0001f40e",
    **{f"{name}, again and again": key + " " for name, (key, _kind) in list(tokens().items())[:6]},
    **{f"{name}, on lines": key[:9] + "\n" + key[9:] + "\n" for name, (key, _kind) in list(tokens().items())[:6]},
    "private keys": private_key(),
    "configured": CONFIGURED,
}


def operations(text: str) -> int:
    """Calls of functions, Python's own included, while a text is redacted."""
    count = 0

    def counted(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        REDACTOR.redact(text)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", HOSTILE)
def test_twice_the_text_takes_no_more_than_twice_the_operations(name: str) -> None:
    unit = HOSTILE[name]
    half, whole = (operations((unit * (size // len(unit) + 1))[:size]) for size in (SIZE // 2, SIZE))
    assert whole <= half * 2.2 + 500
    assert whole <= SIZE * 60


@pytest.mark.parametrize("name", HOSTILE)
def test_a_stream_never_holds_more_than_its_bound(name: str) -> None:
    unit = HOSTILE[name]
    stream = StreamRedactor(REDACTOR)
    most = 0
    for _ in range(18):
        stream.feed((unit * (SIZE // len(unit) + 1))[: SIZE // 4])
        most = max(most, stream.held)
    assert most <= redaction_stream.LARGEST + SIZE
