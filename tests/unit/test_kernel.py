"""Ids, canonical bytes, errors."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from cavalcade.kernel import errors
from cavalcade.kernel.canonical import canonical_bytes, digest, digest_of
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.errors import CavalcadeError
from cavalcade.kernel.ids import ProjectId, RunId, new_event_id, new_run_id, project_stream, run_stream
from cavalcade.testing.clock import FakeClock, SeededEntropy


class Constant:
    """The same byte for ever: the least and the greatest that chance can give."""

    def __init__(self, byte: int) -> None:
        self._byte = byte

    def bytes(self, count: int) -> bytes:
        return bytes([self._byte]) * count


# Ids


def test_an_event_id_is_the_uuid_7_of_the_rfc_s_example() -> None:
    """RFC 9562, appendix A.6."""
    clock = FakeClock(datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC))
    random = 0xCC3 << 68 | 0x18C4DC0C0C07398F & (1 << 62) - 1

    class Example:
        def bytes(self, count: int) -> bytes:
            return random.to_bytes(count, "big")

    assert new_event_id(clock, Example()) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_an_event_id_says_version_7_and_the_rfc_s_variant_whatever_chance_gives(byte: int) -> None:
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        new_event_id(FakeClock(), Constant(byte)),
    )


def test_event_ids_sort_by_the_millisecond_they_were_made_in() -> None:
    clock, entropy = FakeClock(), SeededEntropy(1)
    ids = [new_event_id(clock, entropy)]
    for _ in range(50):
        clock.advance(0.001)
        ids.append(new_event_id(clock, entropy))
    assert ids == sorted(ids)


def test_event_ids_of_one_moment_differ() -> None:
    clock, entropy = FakeClock(), SeededEntropy(1)
    assert len({new_event_id(clock, entropy) for _ in range(1000)}) == 1000


def test_a_run_id_is_short_and_has_no_letters_that_are_mistaken_for_others() -> None:
    for byte in (0x00, 0xFF):
        assert re.fullmatch(r"r[0-9abcdefghjkmnpqrstvwxyz]{12}", new_run_id(FakeClock(), Constant(byte)))


def test_run_ids_sort_by_the_second_they_were_made_in() -> None:
    clock = FakeClock()
    late_in_this_second = new_run_id(clock, Constant(0xFF))
    clock.advance(1)
    assert late_in_this_second < new_run_id(clock, Constant(0x00))


def test_run_ids_still_sort_a_thousand_years_from_now() -> None:
    assert new_run_id(FakeClock(), Constant(0xFF)) < new_run_id(
        FakeClock(datetime(3000, 1, 1, tzinfo=UTC)), Constant(0)
    )


def test_the_same_seed_gives_the_same_ids() -> None:
    assert new_run_id(FakeClock(), SeededEntropy(7)) == new_run_id(FakeClock(), SeededEntropy(7))
    assert new_event_id(FakeClock(), SeededEntropy(7)) != new_event_id(FakeClock(), SeededEntropy(8))


def test_streams_are_named_by_kind_and_id() -> None:
    assert run_stream(RunId("r1")) == "run/r1"
    assert project_stream(ProjectId("p1")) == "project/p1"


def test_the_system_s_clock_tells_utc_and_its_durations_never_go_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    first = clock.monotonic_s()
    assert clock.monotonic_s() >= first


def test_the_system_s_entropy_gives_as_many_bytes_as_asked_for() -> None:
    assert len(SystemEntropy().bytes(10)) == 10


# Canonical bytes


def test_canonical_bytes_are_json_without_space_with_sorted_keys_in_utf_8() -> None:
    value = {"b": [1, 2.5, True, None], "a": "é\n", "B": ()}
    assert canonical_bytes(value) == '{"B":[],"a":"é\\n","b":[1,2.5,true,null]}'.encode()


def test_canonical_bytes_do_not_depend_on_the_order_of_keys() -> None:
    assert canonical_bytes({"x": {"b": 1, "a": 2}, "c": 3}) == canonical_bytes({"c": 3, "x": {"a": 2, "b": 1}})


def test_canonical_bytes_depend_on_the_order_of_lists() -> None:
    assert canonical_bytes([1, 2]) != canonical_bytes([2, 1])


@pytest.mark.parametrize("value", [{1}, b"bytes", object(), datetime(2024, 1, 1, tzinfo=UTC)])
def test_what_json_does_not_know_has_no_canonical_bytes(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_bytes(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_has_no_canonical_bytes(value: float) -> None:
    with pytest.raises(ValueError):
        canonical_bytes(value)


def test_a_digest_is_sha_256_in_hexadecimal() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of({"a": 1}) == digest(b'{"a":1}')


# Errors


def tree_in_the_docstring() -> dict[str, tuple[str, int]]:
    """Class name -> name of its base and exit status, as drawn: two spaces a level, a status inherited where none is written."""
    drawn: dict[str, tuple[str, int]] = {}
    path: list[tuple[str, int]] = [("Exception", 1)]
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ( *)([A-Z]\w+)(?: +(\d+))?(?: {2,}.*)?$", line)
        if found is None or (found[3] is None and found[2] != "CavalcadeError" and not found[1]):
            continue
        level = len(found[1]) // 2
        del path[level + 1 :]
        base, inherited = path[-1]
        status = int(found[3]) if found[3] else inherited
        drawn[found[2]] = (base, status)
        path.append((found[2], status))
    return drawn


def every_error(base: type[CavalcadeError] = CavalcadeError) -> list[type[CavalcadeError]]:
    return [base, *(error for sub in base.__subclasses__() for error in every_error(sub))]


def test_the_tree_drawn_in_the_docstring_is_the_tree_of_classes() -> None:
    real = {error.__name__: (error.__mro__[1].__name__, error.exit_status) for error in every_error()}
    assert tree_in_the_docstring() == real


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in every_error()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_an_error_s_text_is_what_expected_places_and_hint_in_this_order() -> None:
    error = CavalcadeError("no module m", expected="a module", hint="try n", places=("a.py:1", "b.py:2"))
    assert str(error) == "no module m\nexpected: a module\n  a.py:1\n  b.py:2\nhint: try n"


def test_an_error_with_nothing_more_to_say_is_one_line() -> None:
    assert str(CavalcadeError("no module m")) == "no module m"


def test_an_error_keeps_its_parts_for_whoever_resumes() -> None:
    error = errors.SymbolNotFound("no m:f", hint="m:g is near", places=("m.py:3",))
    assert (error.what, error.expected, error.hint, error.places) == ("no m:f", "", "m:g is near", ("m.py:3",))
    assert error.exit_status == 2
