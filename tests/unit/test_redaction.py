"""Secrets are found wherever and however they are written; nothing else is touched. Precision and recall are printed (`-rP` shows them)."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavalcade.kernel.redaction import Redactor, credentials_in, mark
from cavalcade.kernel.redaction_stream import LARGEST, StreamRedactor
from cavalcade.testing.secrets_corpus import (
    CONFIGURED,
    CONFIGURED_NAME,
    Hidden,
    drawn,
    negatives,
    positives,
    private_key,
    tokens,
)

GOLDEN = Path(__file__).parent.parent / "golden"
REDACTOR = Redactor({CONFIGURED_NAME: CONFIGURED, "HOME": "/home/ada", "LANG": "C.UTF-8"})
POSITIVES, NEGATIVES = positives(), negatives()
KEYS = [key for key, _kind in tokens().values()]


def is_found(hidden: Hidden) -> bool:
    redacted = REDACTOR.redact(hidden.text)
    return hidden.kind in redacted.kinds and not any(part in redacted.text for part in hidden.parts)


def test_precision_and_recall_over_the_corpus() -> None:
    missed = [hidden for hidden in POSITIVES if not is_found(hidden)]
    touched = [text for text in NEGATIVES.values() if REDACTOR.redact(text).kinds]
    found = len(POSITIVES) - len(missed)
    print(f"{len(POSITIVES)} texts with secrets, {len(NEGATIVES)} without")  # noqa: T201
    print(f"recall {found / len(POSITIVES):.4f}, precision {found / (found + len(touched)):.4f}")  # noqa: T201
    assert [(hidden.name, REDACTOR.redact(hidden.text)) for hidden in missed] == []
    assert [(text, REDACTOR.redact(text)) for text in touched] == []


def test_the_corpus_without_secrets_is_as_large_as_the_one_with() -> None:
    assert len(NEGATIVES) >= len(POSITIVES)


def test_the_documentation_says_how_large_the_corpus_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "secrets.md").read_text(encoding="utf-8")
    assert f"{len(POSITIVES)} texts with secrets and {len(NEGATIVES)} without" in page


def test_redacting_again_changes_nothing() -> None:
    for hidden in POSITIVES:
        once = REDACTOR.redact(hidden.text).text
        assert REDACTOR.redact(once) == (once, ()), hidden.name


def test_json_stays_json_of_the_same_structure() -> None:
    def shape(value: Any) -> object:
        if isinstance(value, dict):
            value = list(cast("dict[str, Any]", value).values())
        if isinstance(value, list):
            return [shape(item) for item in cast("list[Any]", value)]
        return type(value).__name__

    for hidden in POSITIVES:
        if hidden.text.startswith(('{"', '"', '["')):
            assert shape(json.loads(REDACTOR.redact(hidden.text).text)) == shape(json.loads(hidden.text)), hidden.name


def test_a_mark_says_what_was_there_and_nothing_of_it() -> None:
    key, kind = tokens()["GitHub, classic"]
    redacted = REDACTOR.redact(f"with {key}.")
    assert redacted == (f"with {mark(kind)}.", (kind,))
    assert mark(kind) == "[redacted:github-token]"


def test_what_surrounds_a_secret_stays() -> None:
    key, _ = tokens()["GitLab"]
    assert REDACTOR.redact(f'  token = "{key}"  # é\n').text == '  token = "[redacted:gitlab-token]"  # é\n'


def test_events_on_record_are_untouched() -> None:
    lines = [line for path in sorted(GOLDEN.rglob("*.json*")) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) > 200
    assert [REDACTOR.redact(line) for line in lines if REDACTOR.redact(line).kinds] == []


def test_the_project_s_own_files_are_untouched_but_for_made_up_secrets() -> None:
    """Code, prose and configuration of every kind, as they are written."""
    root = Path(__file__).parents[2]
    files = [path for part in ("src", "docs", "scripts", "bench") for path in sorted((root / part).rglob("*.py"))]
    touched = {path.name: kinds for path in files if (kinds := REDACTOR.redact(path.read_text(encoding="utf-8")).kinds)}
    assert set(touched) <= {"secrets_corpus.py"}


@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [
        ("OPENAI_API_KEY", "abcd1234", True),
        ("DB_PASSWORD", "hunter2hunter", True),
        ("my.secret", "x-y-z-1-2-3", True),
        ("SESSION_COOKIE", "abcdefgh1", True),
        ("NPM_AUTH", "deadbeef01", True),
        ("DATABASE_URL", "postgres://ada:verysecret1@h/db", True),
        ("API_KEY", "1", False),
        ("API_KEY", "short1", False),
        ("API_KEY", "production", False),
        ("API_KEY", "your-api-key-1", False),
        ("API_KEY", "12345678", False),
        ("SECRET_FILE", "/run/secrets/x1", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/ada/key.json", False),
        ("SSH_AUTH_SOCK", "/tmp/ssh-1/agent.1", False),
        ("PATH", "/usr/local/bin1:/bin", False),
        ("KEYBOARD", "us-intl-2024", False),
        ("PUBLIC_KEY", "abcd1234abcd", False),
    ],
)
def test_a_variable_is_a_credential_by_its_name_and_by_what_it_holds(name: str, value: str, counts: bool) -> None:
    assert (name in credentials_in({name: value})) is counts


def test_the_password_of_a_configured_address_is_found_alone() -> None:
    redactor = Redactor({"DATABASE_URL": "postgres://ada:very-secret-9@h/db"})
    assert redactor.redact("tried very-secret-9").text == "tried [redacted:configured:DATABASE_URL]"


def test_one_that_knows_more_still_knows_what_it_knew() -> None:
    redactor = REDACTOR.also({"OTHER_TOKEN": "other-value-1"})
    assert redactor.redact(f"{CONFIGURED} other-value-1").kinds == (
        f"configured:{CONFIGURED_NAME}",
        "configured:OTHER_TOKEN",
    )
    assert REDACTOR.redact("other-value-1").kinds == ()


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *KEYS,
                CONFIGURED,
                private_key(),
                "\\",
                '"',
                "\n",
                "token=",
                "password: ",
                "\x1b[0m",
                "://",
                "@",
                "-----BEGIN ",
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=300)
@given(text=TEXTS)
def test_any_text_is_redacted_once_and_for_all(text: str) -> None:
    once = REDACTOR.redact(text)
    assert REDACTOR.redact(once.text).text == once.text
    assert (once.text == text) == (not once.kinds)


JSON = st.recursive(
    st.one_of(st.none(), st.integers(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(TEXTS, inner, max_size=3),
        inner.map(lambda value: json.dumps(value)),
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(value=JSON, ascii_only=st.booleans())
def test_any_json_stays_json_and_no_key_is_left_in_it(value: object, ascii_only: bool) -> None:
    text = json.dumps({"value": value, "key": KEYS[0]}, ensure_ascii=ascii_only)
    redacted = REDACTOR.redact(text).text
    assert json.loads(redacted)["key"].startswith("[redacted:")


# Streams


def streamed(text: str, sizes: Random, redactor: Redactor = REDACTOR) -> str:
    stream, given, at = StreamRedactor(redactor), "", 0
    while at < len(text):
        size = sizes.choice((1, 2, 7, 40, 500, 3000))
        given += stream.feed(text[at : at + size])
        at += size
    return given + stream.close()


OUTPUT = "\n".join(
    [
        "$ make",
        *(f"line {number} of the build, nothing to see" for number in range(40)),
        *(f"using {key}" for key in KEYS),
        private_key(lines=120),
        f"export DB_PASSWORD=hun{'ter2'}x9",
        f"and {CONFIGURED} at last",
        "x y z " * 1500,
        f"{KEYS[0][:40]}\n{KEYS[0][40:]}",
        "done",
    ]
)


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_is_redacted_as_the_whole_text_wherever_it_is_cut(seed: int) -> None:
    assert streamed(OUTPUT, Random(seed)) == REDACTOR.redact(OUTPUT).text


@settings(max_examples=100)
@given(parts=st.lists(st.sampled_from([*KEYS, "\n", " ", "some words", CONFIGURED]), max_size=10), sizes=st.randoms())
def test_no_key_comes_out_of_a_stream_however_it_is_cut(parts: list[str], sizes: Random) -> None:
    given = streamed("\n".join(parts), sizes)
    assert not any(key in given for key in [*KEYS, CONFIGURED])


def test_whole_lines_come_out_of_a_stream_at_once() -> None:
    stream = StreamRedactor(REDACTOR)
    assert stream.feed("one\ntwo\nthr") == "one\ntwo\n"
    assert (stream.feed("ee\n"), stream.held) == ("three\n", 0)


def test_a_line_that_may_go_on_is_held_back_until_it_is_known() -> None:
    key, _ = tokens()["GitHub, classic"]
    stream = StreamRedactor(REDACTOR)
    assert stream.feed(f"{key[:30]}\n") == ""
    assert stream.feed(f"{key[30:]}\nwords\n") == "[redacted:github-token]\nwords\n"


def test_a_private_key_longer_than_memory_allows_comes_out_as_marks_only() -> None:
    key = private_key(lines=LARGEST // 64 * 2)
    given = streamed(f"before\n{key}after\n", Random(1))
    assert given.startswith("before\n-----BEGIN")
    assert given.endswith("after\n")
    assert not any(line in given for line in key.splitlines()[1:-1])


def test_a_stream_that_ends_gives_out_all_it_held() -> None:
    stream = StreamRedactor(REDACTOR)
    text = "no line end " + drawn("abc", 300, "held")
    assert stream.feed(text) + stream.close() == text
    assert stream.held == 0
