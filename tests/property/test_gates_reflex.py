"""What holds of the gates whatever the edit."""

from __future__ import annotations

import asyncio
import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from cavalcade.gates.defaults import edit_gates, tree_gates
from cavalcade.gates.port import Question
from cavalcade.gates.run import difference, judge, rejudge, result_digest
from cavalcade.gates.syntax import syntax_error
from cavalcade.kernel.clock import SystemClock
from cavalcade.protocol.receipt import Finding, Receipt
from cavalcade.testing.trees import File, MemoryTree

GATES = [*edit_gates(), *tree_gates()]

STATEMENTS = [
    "import os\n", "from p.a import f\n", "from .b import *\n", "import p.b as b\n", "def f():\n    return g()\n", "x = eval('1')\n",
    "__all__ = ['f', 'x']\n", "print(undefined)\n", "os.system('ls')\n", "b.f()\n", "class C(\n", "x = 1\n", "\n\n\n", "# eval(x)\n",
]  # fmt: skip
PATHS = [
    "p/__init__.py",
    "p/a.py",
    "p/b.py",
    "q.py",
    "q.pyi",
    "setup.cfg",
    ".env",
    "data.json",
    "pyproject.toml",
    "é.py",
    "P/A.py",
]

contents = st.one_of(
    st.lists(st.sampled_from(STATEMENTS), max_size=6).map("".join),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
)
files = st.tuples(contents, st.sampled_from([0o100644, 0o100644, 0o100755, 0o120000]))
trees = st.dictionaries(st.sampled_from(PATHS), files, max_size=6)


def ask(before: dict[str, File], after: dict[str, File], paths: list[str]) -> tuple[MemoryTree, list[Receipt]]:
    reader = MemoryTree()
    config = {"fence.allowed": json.dumps(PATHS[:4])}
    question = Question(reader.tree(before), reader.tree(after), tuple(paths), config)
    return reader, asyncio.run(judge(GATES, question, reader, SystemClock()))


@settings(max_examples=40, deadline=None)
@given(trees)
def test_an_edit_that_changes_nothing_is_never_rejected(tree: dict[str, File]) -> None:
    _, receipts = ask(tree, tree, PATHS)
    assert {receipt.verdict for receipt in receipts} == {"passed"}


@settings(max_examples=40, deadline=None)
@given(trees, trees, st.randoms(use_true_random=False))
def test_the_verdict_does_not_depend_on_the_order_of_anything(
    before: dict[str, File], after: dict[str, File], rng: random.Random
) -> None:
    _, first = ask(before, after, PATHS)
    shuffled = [rng.sample(list(tree.items()), len(tree)) for tree in (before, after)]
    _, second = ask(dict(shuffled[0]), dict(shuffled[1]), rng.sample(PATHS, len(PATHS)))
    assert [(r.verdict, r.findings, r.result_digest, r.paths) for r in first] == [
        (r.verdict, r.findings, r.result_digest, r.paths) for r in second
    ]


@settings(max_examples=40, deadline=None)
@given(trees, trees)
def test_asking_again_with_fresh_gates_confirms_every_receipt(before: dict[str, File], after: dict[str, File]) -> None:
    reader, receipts = ask(before, after, PATHS)
    for receipt in receipts:
        again = asyncio.run(rejudge(receipt, reader, [*edit_gates(), *tree_gates()], SystemClock()))
        assert difference(receipt, again) == ""


@given(
    st.lists(st.builds(Finding, path=st.text(max_size=3), line=st.integers(0, 9), code=st.text(max_size=2)), max_size=9)
)
def test_the_digest_covers_the_findings_and_not_their_order(findings: list[Finding]) -> None:
    assert result_digest("failed", findings) == result_digest("failed", list(reversed(findings)))
    if findings:
        assert result_digest("failed", findings) != result_digest("failed", findings[1:])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["a.py", "a.pyi", "a.json", "a.toml"]), st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_otherwise_than_by_a_finding(path: str, data: bytes) -> None:
    finding = syntax_error(path, data)
    assert finding is None or finding.code in ("syntax", "too-deep")
