"""Positions lead there and back, and renaming there and back leaves every byte as it was."""

from __future__ import annotations

import keyword

from hypothesis import given, settings
from hypothesis import strategies as st

from cavalcade.recipes.edits import Replacement, apply
from cavalcade.terrain.source import SourceText
from cavalcade.terrain.tokens import word_pattern

TEXT = st.text(alphabet=st.sampled_from("ab \t\n\réß漢🐍𝒳_1('\"#"), max_size=60)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))


@given(TEXT)
def test_every_character_boundary_survives_utf16_positions(text: str) -> None:
    source = SourceText.of(text.encode())
    at = 0
    for before, character in zip(["", *text], text, strict=False):
        within_line_end = before == "\r" and character == "\n"
        if character not in "\r\n" and not within_line_end:
            assert source.offset(source.position(at)) == at
        at += len(character.encode())


@given(TEXT)
def test_positions_count_as_the_protocol_does(text: str) -> None:
    source = SourceText.of(text.encode())
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    for line, content in enumerate(normal.split("\n"), start=1):
        assert source.line_text(line) == content
        start = source.offset_of_line(line)
        end = source.position(start + len(content.encode()))
        assert end == (line - 1, len(content.encode("utf-16-le")) // 2)


@given(TEXT, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "iso8859-15"]))
def test_decoding_and_encoding_a_file_gives_its_own_bytes(text: str, encoding: str) -> None:
    cookie = "" if encoding in {"utf-8", "utf-8-sig"} else f"# coding: {encoding}\n"
    raw = (cookie + text).encode(encoding, errors="replace")
    source = SourceText.of(raw)
    assert source.encode(source.body) == raw


@settings(max_examples=200)
@given(st.lists(st.one_of(TEXT, st.just("\0")), min_size=2, max_size=6), NAMES, NAMES)
def test_renaming_there_and_back_gives_identical_bytes(parts: list[str], old: str, new: str) -> None:
    raw = f" {old} ".join(part.replace("\0", "") for part in parts).encode()
    if word_pattern(new).search(raw):
        return
    there = renamed(raw, old, new)
    assert not word_pattern(old).search(there) or old == new
    assert renamed(there, new, old) == raw


def renamed(raw: bytes, old: str, new: str) -> bytes:
    source = SourceText.of(raw)
    places = {m.start(): Replacement(m.start(), m.end(), new) for m in word_pattern(old).finditer(source.body)}
    return apply(source, places, "m.py")
