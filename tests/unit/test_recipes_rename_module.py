"""Renaming and moving modules. Bug class: an import that no longer finds its module."""

from __future__ import annotations

import pytest

from cavalcade.kernel.errors import NameNotUsable, RecipeRefused
from cavalcade.testing.plans import attempt

PACKAGE = {
    "pkg/__init__.py": 'from . import nodes\nfrom .nodes import Node as Node\n\n__all__ = ["nodes", "Node"]\n',
    "pkg/nodes.py": "from . import other\nclass Node: ...\n",
    "pkg/other.py": "def f(node):\n    return node.nodes\n",
    "use.py": (
        "import pkg\nimport pkg.nodes\nimport pkg.nodes as n\nfrom pkg import nodes\nfrom pkg.nodes import Node\n"
        "pkg.nodes.Node, n.Node, nodes.Node\ndef g(nodes):\n    return nodes\n"
    ),
}


async def test_the_file_moves_and_every_form_of_import_follows() -> None:
    tried = await attempt("rename module pkg.nodes to pkg.syntax", PACKAGE)
    after = tried.after()
    assert "pkg/nodes.py" not in after
    assert after["pkg/syntax.py"] == PACKAGE["pkg/nodes.py"].encode()
    assert (
        tried.text("pkg/__init__.py")
        == 'from . import syntax\nfrom .syntax import Node as Node\n\n__all__ = ["syntax", "Node"]\n'
    )
    assert tried.text("use.py") == (
        "import pkg\nimport pkg.syntax\nimport pkg.syntax as n\nfrom pkg import syntax\nfrom pkg.syntax import Node\n"
        "pkg.syntax.Node, n.Node, syntax.Node\ndef g(nodes):\n    return nodes\n"
    )
    assert after["pkg/other.py"] == PACKAGE["pkg/other.py"].encode()


async def test_a_bare_new_name_stays_in_the_package_and_a_dotted_module_needs_no_word() -> None:
    by_word = await attempt("rename pkg.nodes to syntax", PACKAGE)
    in_full = await attempt("rename module pkg.nodes to pkg.syntax", PACKAGE)
    assert by_word.after() == in_full.after()


async def test_a_package_moves_with_all_its_files() -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/sub/__init__.py": "from .deep import x\n",
        "pkg/sub/deep.py": "from .. import top\nx = 1\n",
        "pkg/sub/data.txt": "data\n",
        "pkg/top.py": "from pkg.sub.deep import x\nfrom .sub import deep\nimport pkg.sub.deep\npkg.sub.deep.x\n",
    }
    tried = await attempt("rename module pkg.sub to pkg.part", files)
    after = tried.after()
    assert sorted(after) == [
        "pkg/__init__.py",
        "pkg/part/__init__.py",
        "pkg/part/data.txt",
        "pkg/part/deep.py",
        "pkg/top.py",
    ]
    assert (
        tried.text("pkg/top.py")
        == "from pkg.part.deep import x\nfrom .part import deep\nimport pkg.part.deep\npkg.part.deep.x\n"
    )
    assert after["pkg/part/deep.py"] == files["pkg/sub/deep.py"].encode()


async def test_a_move_to_another_package_rewrites_imports_on_both_sides() -> None:
    files = {
        "a/__init__.py": "",
        "a/old.py": "from . import near\nfrom .near import y\nfrom .. import b\nx = near.y\n",
        "a/near.py": "from .old import x\nfrom . import old, far\nfrom . import old as o\nold.x\ny = 1\n",
        "a/far.py": "import a.old\na.old.x\n",
        "b/__init__.py": "",
        "use.py": "from a import old\nfrom a.old import x\nimport a.old as q\nold.x, q.x\n",
    }
    files["a/old.py"] = "from . import near\nfrom .near import y\nx = near.y\n"
    tried = await attempt("rename module a.old to b.new", files)
    assert tried.text("b/new.py") == "from a import near\nfrom a.near import y\nx = near.y\n"
    assert (
        tried.text("a/near.py")
        == "from b.new import x\nfrom b import new\nfrom . import far\nfrom b import new as o\nnew.x\ny = 1\n"
    )
    assert tried.text("a/far.py") == "import b.new\nb.new.x\n"
    assert tried.text("use.py") == "from b import new\nfrom b.new import x\nimport b.new as q\nnew.x, q.x\n"


async def test_a_stub_goes_along_and_a_top_level_module_can_be_renamed() -> None:
    files = {"old.py": "x = 1\n", "old.pyi": "x: int\n", "use.py": "import old\nfrom old import x\nold.x\n"}
    tried = await attempt("rename module old to new", files)
    assert sorted(tried.after()) == ["new.py", "new.pyi", "use.py"]
    assert tried.text("use.py") == "import new\nfrom new import x\nnew.x\n"


async def test_dotted_names_in_strings_are_listed_and_imports_by_name_follow() -> None:
    files = {
        **PACKAGE,
        "text.py": "import importlib\nimportlib.import_module('pkg.nodes')\nWHERE = 'pkg.nodes'\n# see pkg.nodes\n",
        "docs/api.rst": ".. automodule:: pkg.nodes\n\nsome nodes\n",
        "setup.cfg": "[x]\nmodule = pkg.nodes\n",
    }
    tried = await attempt("rename module pkg.nodes to pkg.syntax", files)
    assert "import_module('pkg.syntax')\nWHERE = 'pkg.nodes'" in tried.text("text.py")
    assert tried.at(tried.outcome.unresolved) == ["setup.cfg:2", "text.py:3"]
    assert tried.at(tried.outcome.mentions) == ["docs/api.rst:1", "text.py:4"]


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ("pkg.other", NameNotUsable),
        ("pkg.Node", NameNotUsable),
        ("nowhere.nodes", NameNotUsable),
        ("pkg.other.nodes", NameNotUsable),
        ("pkg.for", NameNotUsable),
        ("pkg.nodes", NameNotUsable),
        ("pkg.nodes.inner", RecipeRefused),
    ],
)
async def test_a_place_that_is_taken_or_is_none_is_refused(to: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await attempt(f"rename module pkg.nodes to {to}", PACKAGE)


async def test_a_user_with_a_name_of_its_own_like_the_new_one_is_named() -> None:
    files = {**PACKAGE, "clash.py": "from pkg import nodes\nsyntax = 1\nnodes.Node\n"}
    with pytest.raises(NameNotUsable) as caught:
        await attempt("rename module pkg.nodes to pkg.syntax", files)
    assert caught.value.places == ("clash.py:2",)
