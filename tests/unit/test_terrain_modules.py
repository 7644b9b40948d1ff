"""Module names, origins of names, broken imports, affected tests. Bug class: a wrong or missed edge between modules."""

from __future__ import annotations

import pytest

from cavalcade.terrain.affected import affected_tests
from cavalcade.terrain.codetree import CodeTree
from cavalcade.terrain.index import Index
from cavalcade.terrain.modules import ModuleMap
from cavalcade.testing.trees import File, MemoryTree


def code_of(files: dict[str, File]) -> CodeTree:
    reader = MemoryTree()
    return CodeTree(reader, Index(reader), reader.tree(files))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("src/pkg/__init__.py", "pkg"),
        ("src/pkg/sub/mod.py", "pkg.sub.mod"),
        ("src/pkg/sub/mod.pyi", "pkg.sub.mod"),
        ("tests/unit/test_x.py", "tests.unit.test_x"),
        ("setup.py", "setup"),
        ("README.md", ""),
    ],
)
def test_a_path_has_the_name_it_is_imported_by(path: str, name: str) -> None:
    assert ModuleMap(["src/pkg/__init__.py", path]).name(path) == name


@pytest.mark.parametrize(
    "pyproject",
    [
        b'[tool.setuptools.packages.find]\nwhere = ["code"]\n',
        b'[tool.setuptools]\npackage-dir = {"" = "code"}\n',
        b'[tool.hatch.build.targets.wheel]\npackages = ["code/pkg"]\n',
        b'[[tool.poetry.packages]]\ninclude = "pkg"\nfrom = "code"\n',
        b'[tool.uv.build-backend]\nmodule-root = "code"\n',
    ],
)
def test_declared_source_roots_count(pyproject: bytes) -> None:
    assert ModuleMap(["code/pkg/__init__.py", "code/pkg/m.py"], pyproject).name("code/pkg/m.py") == "pkg.m"


def test_a_file_beside_the_importing_one_wins_where_several_have_the_name() -> None:
    modules = ModuleMap(["a/conf.py", "b/conf.py", "b/test_b.py"])
    assert modules.paths("conf", near="b/test_b.py") == ("b/conf.py",)


def test_relative_imports_lead_from_modules_and_packages() -> None:
    modules = ModuleMap(["p/__init__.py", "p/q/__init__.py", "p/q/m.py"])
    assert modules.absolute("p/q/m.py", 1, "x") == "p.q.x"
    assert modules.absolute("p/q/__init__.py", 1, "x") == "p.q.x"
    assert modules.absolute("p/q/m.py", 2, "") == "p"
    assert modules.absolute("p/q/m.py", 4, "x") == ""


FILES: dict[str, File] = {
    "p/__init__.py": "from .a import *\nfrom .b import late as soon\nfrom numpy import array\n",
    "p/a.py": "from .c import *\n__all__ = ['f']\nf = g = 1\n",
    "p/b.py": "def late(): ...\n",
    "p/c.py": "h = 2\n",
}


def test_a_names_origin_is_found_through_reexports_stars_and_aliases() -> None:
    code = code_of(FILES)
    assert [(o.module, o.name) for o in code.origins("p", "f") or ()] == [("p.a", "f")]
    assert [(o.module, o.name) for o in code.origins("p", "soon") or ()] == [("p.b", "late")]
    assert [(o.module, o.definition) for o in code.origins("p", "b") or ()] == [("p.b", None)]
    assert code.origins("p", "g") == ()
    assert code.origins("p", "array") is None
    assert code.origins("numpy", "array") is None


def test_a_circle_of_star_imports_ends() -> None:
    code = code_of({"a.py": "from b import *\nx = 1\n", "b.py": "from a import *\n"})
    assert [o.module for o in code.origins("b", "x") or ()] == ["a"]
    assert code.origins("b", "nothing") == ()


def test_what_no_longer_resolves_is_named_with_its_line() -> None:
    files: dict[str, File] = {
        "p/__init__.py": "from .m import gone\n__all__ = ['lost']\n",
        "p/m.py": "here = 1\n",
        "u.py": "import p.m\nfrom p import m\nimport os\n\nm.here\nm.away\np.m.off\nos.anything\n",
        "v.py": "from p.nowhere import x\nfrom elsewhere import y\n",
    }
    broken = [(b.path, b.line, b.module, b.name) for b in code_of(files).broken_imports(sorted(files))]
    assert broken == [
        ("p/__init__.py", 1, "p.m", "gone"),
        ("p/__init__.py", 2, "p", "lost"),
        ("u.py", 6, "p.m", "away"),
        ("u.py", 7, "p.m", "off"),
        ("v.py", 1, "p.nowhere", ""),
    ]


def test_a_module_with_names_made_at_run_time_breaks_nothing() -> None:
    files: dict[str, File] = {
        "m.py": "def __getattr__(name): ...\n",
        "n.py": "globals()['x'] = 1\n",
        "u.py": "from m import a\nfrom n import x\n",
    }
    assert list(code_of(files).broken_imports(["u.py"])) == []


SUITE: dict[str, File] = {
    "src/p/__init__.py": "",
    "src/p/a.py": "from . import b\n",
    "src/p/b.py": "",
    "src/p/c.py": "",
    "tests/test_a.py": "from p.a import x\n",
    "tests/test_b.py": "import p.b\n",
    "tests/test_c.py": "from p import c\n",
    "tests/sub/conftest.py": "import p.b\n",
    "tests/sub/test_d.py": "",
    "docs/index.rst": "",
}


def test_tests_that_import_a_change_directly_or_through_others_are_affected() -> None:
    found = affected_tests(code_of(SUITE), ["src/p/b.py"])
    assert found.files == ("tests/sub/test_d.py", "tests/test_a.py", "tests/test_b.py")
    assert not found.whole
    assert affected_tests(code_of(SUITE), ["src/p/c.py"]).files == ("tests/test_c.py",)
    assert affected_tests(code_of(SUITE), ["docs/index.rst"]).files == ()


@pytest.mark.parametrize("path", ["pyproject.toml", "src/p/data.json", "conftest.py", "src/p/__init__.py"])
def test_what_every_test_may_depend_on_affects_the_whole_suite(path: str) -> None:
    files: dict[str, File] = {
        **SUITE,
        "tests/sub/test_d.py": "import p\n",
        path: "import p\n" if path.endswith(".py") else "{}",
    }
    found = affected_tests(code_of(files), [path])
    assert found.whole
    assert found.why


def test_the_projects_own_idea_of_test_files_counts() -> None:
    settings = b'[tool.pytest.ini_options]\ntestpaths = ["checks"]\npython_files = ["check_*.py"]\n'
    files: dict[str, File] = {
        "m.py": "",
        "n.py": "",
        "checks/check_m.py": "import m\n",
        "checks/check_n.py": "import n\n",
        "test_m.py": "import m\n",
        "pyproject.toml": settings,
    }
    assert affected_tests(code_of(files), ["m.py"]).files == ("checks/check_m.py",)
