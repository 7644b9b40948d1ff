"""Renaming keyword parameters. Bug class: a caller's keyword left behind, another function's keyword changed."""

from __future__ import annotations

import pytest

from cavalcade.kernel.errors import NameNotUsable, SymbolNotFound
from cavalcade.testing.plans import attempt


async def test_the_body_and_the_keywords_of_calls_change_and_namesakes_stay() -> None:
    files = {
        "m.py": (
            "def f(a, nl=True):\n    def inner():\n        return nl\n    return nl and inner()\n"
            "def g(nl):\n    return f(1, nl=nl)\nf(1, nl=False)\ng(nl=2)\n"
        ),
        "u.py": "import m\nfrom m import f as ff\nm.f(0, nl=1)\nff(0, nl=2)\nm.g(nl=3)\n",
    }
    tried = await attempt("rename m:f(nl) to newline", files)
    assert tried.text("m.py") == (
        "def f(a, newline=True):\n    def inner():\n        return newline\n    return newline and inner()\n"
        "def g(nl):\n    return f(1, newline=nl)\nf(1, newline=False)\ng(nl=2)\n"
    )
    assert tried.text("u.py") == "import m\nfrom m import f as ff\nm.f(0, newline=1)\nff(0, newline=2)\nm.g(nl=3)\n"


async def test_partial_takes_the_keyword_along() -> None:
    source = "import functools\ndef f(a, nl): ...\nh = functools.partial(f, nl=1)\n"
    tried = await attempt("rename m:f(nl) to newline", {"m.py": source})
    assert tried.text("m.py") == source.replace("nl", "newline")


async def test_overrides_with_the_same_parameter_and_calls_through_them_follow() -> None:
    source = (
        "class A:\n    def m(self, nl=1): return nl\nclass B(A):\n    def m(self, nl=2): return super().m(nl=nl)\n"
        "class C(A):\n    def m(self, other=3): ...\nB().m(nl=4)\n"
    )
    tried = await attempt("rename m:A.m(nl) to newline", {"m.py": source})
    assert tried.text("m.py") == source.replace("nl", "newline")
    assert [d.question for d in tried.outcome.decisions] == ["Which definitions of m take the parameter nl along?"]


async def test_a_parameter_of_a_class_is_that_of_its_init() -> None:
    source = (
        "class A:\n    def __init__(self, nl=1):\n        self.nl = nl\nclass B(A): ...\nA(nl=2)\nB(nl=3)\nA().nl\n"
    )
    tried = await attempt("rename m:A(nl) to newline", {"m.py": source})
    assert tried.text("m.py") == (
        "class A:\n    def __init__(self, newline=1):\n        self.nl = newline\nclass B(A): ...\n"
        "A(newline=2)\nB(newline=3)\nA().nl\n"
    )


async def test_a_call_of_something_unknown_is_unresolved() -> None:
    source = "def f(nl=1): ...\ndef g(callback):\n    callback(nl=2)\n"
    tried = await attempt("rename m:f(nl) to newline", {"m.py": source})
    assert tried.at(tried.outcome.unresolved) == ["m.py:3"]


async def test_docstrings_that_speak_of_the_parameter_are_mentions() -> None:
    source = 'def f(nl=1):\n    """Writes.\n\n    :param nl: new line.\n    """\n    return nl\n'
    tried = await attempt("rename m:f(nl) to newline", {"m.py": source, "other.py": '"""About nl."""\n'})
    assert tried.at(tried.outcome.mentions) == ["m.py:4"]
    assert ":param nl:" in tried.text("m.py")
    asked = await attempt("rename m:f(nl) to newline with mentions docs", {"m.py": source})
    assert ":param newline:" in asked.text("m.py", "reference", "mention")


@pytest.mark.parametrize(
    "source",
    [
        "def f(nl, newline): ...\n",
        "def f(nl):\n    newline = 1\n    return nl\n",
        "newline = 1\ndef f(nl):\n    return nl + newline\n",
        "def f(nl, **more): ...\nf(nl=1, newline=2)\n",
        "def f(nl):\n    return [nl for newline in range(3)]\n",
    ],
)
async def test_a_name_that_the_function_or_a_call_has_already_is_refused(source: str) -> None:
    with pytest.raises(NameNotUsable):
        await attempt("rename m:f(nl) to newline", {"m.py": source})


async def test_an_unknown_parameter_is_answered_with_those_there_are() -> None:
    with pytest.raises(SymbolNotFound, match="did you mean nl"):
        await attempt("rename m:f(ln) to newline", {"m.py": "def f(nl): ...\n"})
