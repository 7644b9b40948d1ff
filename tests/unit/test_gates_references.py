"""Bug class: an edit breaks a file that nobody edited."""

from __future__ import annotations

import pytest

from cavalcade.gates.port import Judgement, Question
from cavalcade.gates.references import ReferencesGate, entry_points
from cavalcade.terrain.index import Index
from cavalcade.testing.trees import File, MemoryTree

Files = dict[str, File]


async def judge(before: Files, after: Files, **config: str) -> Judgement:
    reader = MemoryTree()
    old, new = reader.tree(before), reader.tree(after)
    changed = tuple(path for path in {**before, **after} if before.get(path) != after.get(path))
    question = Question(old, new, changed, config)
    judgement = await ReferencesGate().judge(question, reader)
    with_index = await ReferencesGate(Index(reader)).judge(question, reader)
    assert judgement == with_index, "an index changes nothing but the time"
    return judgement


def places(judgement: Judgement) -> list[tuple[str, int, str]]:
    return sorted((finding.path, finding.line, finding.code) for finding in judgement.findings)


OLD, NEW = "def old():\n    pass\n", "def new():\n    pass\n"
PACKAGE: Files = {"p/__init__.py": "", "p/m.py": OLD}


@pytest.mark.parametrize(
    ("path", "text", "line", "code"),
    [
        ("p/a.py", "from p.m import old\n", 1, "broken-import"),
        ("p/a.py", "from .m import old as kept\n", 1, "broken-import"),
        ("q/a.py", "x = 1\nfrom p.m import (\n    other,\n    old,\n)\n", 4, "broken-import"),
        ("p/a.py", "import p.m\np.m.old()\n", 2, "broken-attribute"),
        ("p/a.py", "import p.m as alias\n\nprint(alias.old)\n", 3, "broken-attribute"),
        ("p/a.py", "from p import m\nx = [m.old for _ in ()]\n", 2, "broken-attribute"),
        ("p/a.py", "from . import m as n\n@n.old\ndef f(): ...\n", 2, "broken-attribute"),
        ("p/a.py", "def f():\n    from p import m\n    return m.old()\n", 3, "broken-attribute"),
        ("p/a.py", "import p.m\nclass C(p.m.old.inner): ...\n", 2, "broken-attribute"),
        ("p/a.py", "from p.m import *\ndef f():\n    return old()\n", 3, "broken-star-import"),
        ("p/a.py", "if True:\n    from p.m import old\n", 2, "broken-import"),
        ("p/a.pyi", "from p.m import old\n", 1, "broken-import"),
        ("tests/test_a.py", "from p.m import old\n", 1, "broken-import"),
    ],
)
async def test_a_name_that_vanished_breaks_who_uses_it(path: str, text: str, line: int, code: str) -> None:
    before: Files = {**PACKAGE, "p/m.py": OLD + "other = 1\n", path: text}
    found = await judge(before, {**before, "p/m.py": NEW + "other = 1\n"})
    assert places(found) == [(path, line, code)]


@pytest.mark.parametrize(
    "text",
    [
        "from elsewhere import old\n",
        "from p.m import new as old\n",
        "# from p.m import old\n",
        'x = "from p.m import old"\n',
        "class C:\n    def old(self): ...\n    def f(self):\n        return self.old()\n",
        "from p import m\ndef f(m):\n    return m.old()\n",
        "from p import m\nf = lambda m: m.old\n",
        "from p import m\nx = [m.old for m in ()]\n",
        "from p import m\nx = y.m.old\n",
        "from p.m import *\ndef f(old):\n    return old()\n",
        "from p.m import *\ndef old(): ...\nold()\n",
        "import old\n",
    ],
)
async def test_what_is_not_the_name_is_not_broken(text: str) -> None:
    before: Files = {**PACKAGE, "p/m.py": OLD + "new = 1\n", "p/a.py": text}
    assert places(await judge(before, {**before, "p/m.py": NEW})) == []


async def test_a_reference_that_was_broken_before_is_not_new() -> None:
    before: Files = {**PACKAGE, "p/a.py": "from p.m import never\nfrom p.gone import x\n"}
    assert places(await judge(before, {**before, "p/m.py": NEW})) == []
    edited = "x = 1\nfrom p.m import never\nfrom p.gone import x\n"
    assert places(await judge(before, {**before, "p/a.py": edited})) == []


async def test_an_edited_file_must_not_import_what_never_was() -> None:
    after: Files = {
        **PACKAGE,
        "p/a.py": "from p.m import typo\nfrom p.nowhere import x\nimport p.neither\nimport elsewhere.x\n",
    }
    expected = [("p/a.py", 1, "broken-import"), ("p/a.py", 2, "broken-import"), ("p/a.py", 3, "broken-import")]
    assert places(await judge(PACKAGE, after)) == expected


async def test_a_module_that_vanished_breaks_who_imports_it() -> None:
    before: Files = {
        **PACKAGE,
        "a.py": "import p.m\n",
        "b.py": "from p import m\n",
        "p/c.py": "from .m import old\n",
        "d.py": "from p.m import *\n",
        "e.py": "import p\nimport p.other\np.m.old()\n",
        "p/other.py": "",
    }
    after = {path: text for path, text in before.items() if path != "p/m.py"} | {"p/moved.py": OLD}
    found = await judge(before, after, moves='{"p/moved.py":"p/m.py"}')
    assert {path for path, _, _ in places(found)} == {"a.py", "b.py", "p/c.py", "d.py", "e.py"}


async def test_a_package_that_vanished_breaks_who_imports_it_also_without_init() -> None:
    before: Files = {
        "ns/deep/m.py": "x = 1\n",
        "a.py": "from ns.deep import m\nimport ns.deep.m\n",
        "b.py": "from ns.deep.m import x\n",
    }
    after: Files = {path: text for path, text in before.items() if not path.startswith("ns")}
    assert {path for path, _, _ in places(await judge(before, after))} == {"a.py", "b.py"}


async def test_a_module_that_becomes_a_package_breaks_nothing() -> None:
    before: Files = {**PACKAGE, "a.py": "from p.m import old\nimport p.m\n"}
    after: Files = {
        "p/__init__.py": "",
        "p/m/__init__.py": "from .impl import old\n",
        "p/m/impl.py": OLD,
        "a.py": before["a.py"],
    }
    assert places(await judge(before, after)) == []


async def test_a_chain_of_reexports_breaks_where_it_is_cut() -> None:
    before: Files = {
        "p/__init__.py": "from .api import old\n__all__ = ['old']\n",
        "p/api.py": "from .m import old as old\n",
        "p/m.py": OLD,
        "user.py": "from p import old\nimport p\np.old()\n",
    }
    assert places(await judge(before, {**before, "p/m.py": NEW})) == [("p/api.py", 1, "broken-import")]
    cut = {**before, "p/m.py": NEW, "p/api.py": "from .m import new as new\n"}
    assert places(await judge(before, cut)) == [("p/__init__.py", 1, "broken-import")]
    deeper = {**cut, "p/__init__.py": "from .api import new\n__all__ = ['new']\n"}
    assert places(await judge(before, deeper)) == [("user.py", 1, "broken-import"), ("user.py", 3, "broken-attribute")]


async def test_a_chain_of_star_imports_is_followed_through_files_that_nobody_edited() -> None:
    before: Files = {
        "p/__init__.py": "from .api import *\n",
        "p/api.py": "from .m import *\n",
        "p/m.py": "__all__ = ['old', 'kept']\n" + OLD + "kept = 1\n",
        "user.py": "from p import old, kept\n",
        "other.py": "import p as q\nq.old(q.kept)\n",
        "starry.py": "from p import *\nold(kept)\n",
    }
    after = {**before, "p/m.py": "__all__ = ['new', 'kept']\n" + NEW + "kept = 1\n"}
    expected = [
        ("other.py", 2, "broken-attribute"),
        ("starry.py", 2, "broken-star-import"),
        ("user.py", 1, "broken-import"),
    ]
    assert places(await judge(before, after)) == expected


async def test_an_export_list_that_names_what_is_gone_is_broken_beside_a_star_import_too() -> None:
    before: Files = {
        "p/__init__.py": "from .m import *\n__all__ = ['old']\n",
        "p/m.py": "__all__ = ['old']\n" + OLD,
    }
    found = await judge(before, {**before, "p/m.py": "__all__ = ['old']\n" + NEW})
    assert places(found) == [("p/m.py", 1, "broken-export")]
    found = await judge(before, {**before, "p/m.py": "__all__ = ['new']\n" + NEW})
    assert places(found) == [("p/__init__.py", 2, "broken-export")]


async def test_a_stub_beside_the_module_must_follow() -> None:
    before: Files = {**PACKAGE, "p/m.pyi": "x: int\ndef old() -> None: ...\n"}
    assert places(await judge(before, {**before, "p/m.py": NEW})) == [("p/m.pyi", 2, "stale-stub")]
    followed = {**before, "p/m.py": NEW, "p/m.pyi": "x: int\ndef new() -> None: ...\n"}
    assert places(await judge(before, followed)) == []
    without = {path: text for path, text in before.items() if path != "p/m.py"}
    assert places(await judge(before, without)) == [("p/m.pyi", 0, "stale-stub")]


@pytest.mark.parametrize(
    "text",
    [
        "def __getattr__(name): ...\n",
        "from elsewhere import *\n",
        "globals().update(make())\n",
        "def f():\n    global old\n    old = 1\n",
        "if (old := 1): ...\n",
        "try:\n    from x import old\nexcept ImportError:\n    old = None\n",
        "for old in (): ...\n",
        "with open('x') as old: ...\n",
        "old: int\n",
        "a, (old, *b) = 1, (2, 3)\n",
        "class old: ...\n",
        "import x.y as old\n",
        "match 1:\n    case old:\n        pass\n",
    ],
)
async def test_a_module_that_still_binds_the_name_in_whatever_way_has_it(text: str) -> None:
    before: Files = {**PACKAGE, "a.py": "from p.m import old\n"}
    assert places(await judge(before, {**before, "p/m.py": text})) == []


async def test_a_file_named_like_a_library_does_not_stand_for_it_elsewhere() -> None:
    before: Files = {
        "tests/json.py": "def loads(): ...\n",
        "tests/user.py": "from json import loads\n",
        "app.py": "from json import loads\n",
    }
    after: Files = {
        "tests/json.py": "",
        "tests/user.py": "from json import loads\n",
        "app.py": "from json import dumps\n",
    }
    assert places(await judge(before, after)) == [("tests/user.py", 1, "broken-import")]
    removed: Files = {"tests/user.py": "from json import loads\n", "app.py": "from json import loads\nimport json\n"}
    assert {path for path, _, _ in places(await judge(before, removed))} == {"tests/user.py"}


async def test_modules_that_are_built_are_not_missed() -> None:
    after: Files = {
        **PACKAGE,
        "p/_fast.pyx": "",
        "p/a.py": "from p._fast import x\nfrom p._version import v\nfrom ._fast import y\n",
    }
    assert places(await judge(PACKAGE, after)) == []


async def test_source_roots_are_known() -> None:
    before: Files = {
        "src/p/__init__.py": "",
        "src/p/m.py": OLD,
        "tests/test_m.py": "from p.m import old\n",
        "src/p/a.py": "from .m import old\n",
    }
    found = await judge(before, {**before, "src/p/m.py": NEW})
    assert places(found) == [("src/p/a.py", 1, "broken-import"), ("tests/test_m.py", 1, "broken-import")]


async def test_an_entry_point_must_lead_somewhere() -> None:
    settings = '[project]\nname = "p"\n[project.scripts]\np = "p.m:old"\n'
    before: Files = {**PACKAGE, "pyproject.toml": settings}
    assert places(await judge(before, {**before, "p/m.py": NEW})) == [("pyproject.toml", 4, "broken-entry-point")]
    followed = {**before, "p/m.py": NEW, "pyproject.toml": settings.replace("old", "new")}
    assert places(await judge(before, followed)) == []
    assert entry_points(b"[project.scripts]\nx = 'a:b.c [extra]'\ny = 'a.b'\nz = 3\n") == [("a", "b"), ("a.b", "")]
    assert entry_points(b"not toml [") == []


async def test_a_moved_file_keeps_what_its_relative_imports_meant() -> None:
    before: Files = {**PACKAGE, "p/a.py": "from .m import old\n"}
    after: Files = {**PACKAGE, "p/deep/__init__.py": "", "p/deep/a.py": "from .m import old\n"}
    found = await judge(before, after, moves='{"p/deep/a.py":"p/a.py"}')
    assert places(found) == [("p/deep/a.py", 1, "broken-import")]
    fixed = {**after, "p/deep/a.py": "from ..m import old\n"}
    assert places(await judge(before, fixed, moves='{"p/deep/a.py":"p/a.py"}')) == []


async def test_files_that_cannot_be_parsed_and_imports_in_circles_are_no_obstacle() -> None:
    before: Files = {
        "p/__init__.py": "from .a import *\n",
        "p/a.py": "from .b import *\nfrom . import *\n",
        "p/b.py": "from .a import *\nold = 1\n",
        "p/broken.py": "from .b import old\ndef f(:\n  old\n",
        "p/bytes.py": b"\xff\xfe old b\0",
        "p/link.py": ("b.py", 0o120000),
    }
    found = await judge(before, {**before, "p/b.py": "from .a import *\n"})
    assert places(found) == [("p/broken.py", 1, "broken-import")]
