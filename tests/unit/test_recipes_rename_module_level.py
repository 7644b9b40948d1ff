"""Renaming functions, classes and variables at module level. Bug class: an import that no longer resolves, a wrong name changed."""

from __future__ import annotations

import pytest

from cavalcade.kernel.errors import NameNotUsable, SymbolAmbiguous, SymbolNotFound
from cavalcade.testing.plans import attempt

HELPERS = "def old(x):\n    return x\n"


async def test_definition_imports_and_uses_change_in_every_form_of_import() -> None:
    tried = await attempt(
        "rename pkg.helpers:old to new",
        {
            "pkg/__init__.py": "",
            "pkg/helpers.py": "def old(x):\n    return old(x - 1) if x else old\n",
            "pkg/a.py": "from .helpers import old\nprint(old(1))\n",
            "pkg/b.py": "from pkg import helpers\nprint(helpers.old(1))\n",
            "pkg/c.py": "import pkg.helpers\nprint(pkg.helpers.old(1))\n",
            "pkg/d.py": "import pkg.helpers as h\nprint(h.old(1))\n",
            "tests/test_it.py": "def test_it():\n    from pkg.helpers import old\n    assert old(0) is old\n",
        },
    )
    assert tried.text("pkg/helpers.py") == "def new(x):\n    return new(x - 1) if x else new\n"
    assert tried.text("pkg/a.py") == "from .helpers import new\nprint(new(1))\n"
    assert tried.text("pkg/b.py") == "from pkg import helpers\nprint(helpers.new(1))\n"
    assert tried.text("pkg/c.py") == "import pkg.helpers\nprint(pkg.helpers.new(1))\n"
    assert tried.text("pkg/d.py") == "import pkg.helpers as h\nprint(h.new(1))\n"
    assert (
        tried.text("tests/test_it.py") == "def test_it():\n    from pkg.helpers import new\n    assert new(0) is new\n"
    )
    assert tried.outcome.unresolved == ()


async def test_an_alias_keeps_its_name() -> None:
    tried = await attempt(
        "rename m:old to new",
        {
            "m.py": HELPERS,
            "a.py": "from m import old as mine\nmine(1)\n",
            "b.py": "from a import mine as old\nold(1)\n",
            "c.py": "from b import old\nold(1)\n",
        },
    )
    assert tried.text("a.py") == "from m import new as mine\nmine(1)\n"
    assert tried.changed() == ["a.py", "m.py"]
    assert tried.outcome.unresolved == ()


async def test_reexports_all_entries_stubs_and_star_imports_follow() -> None:
    tried = await attempt(
        "rename pkg.core:old to new",
        {
            "pkg/__init__.py": 'from .core import old as old\nfrom .core import *\n\n__all__ = ["old"]\n',
            "pkg/core.py": '__all__ = ("old", "other")\n__all__ += ["more"]\nother = more = 1\ndef old(): ...\n',
            "pkg/core.pyi": "other: int\nmore: int\ndef old() -> None: ...\n",
            "use.py": "from pkg import *\nold()\n",
            "use2.py": "import pkg\npkg.old()\n",
        },
    )
    assert tried.text("pkg/__init__.py") == 'from .core import new as new\nfrom .core import *\n\n__all__ = ["new"]\n'
    assert tried.text("pkg/core.py").startswith('__all__ = ("new", "other")')
    assert tried.text("pkg/core.pyi").endswith("def new() -> None: ...\n")
    assert tried.text("use.py") == "from pkg import *\nnew()\n"
    assert tried.text("use2.py") == "import pkg\npkg.new()\n"


async def test_a_symbol_can_be_named_through_its_reexport() -> None:
    tried = await attempt(
        "rename pkg:old to new", {"pkg/__init__.py": "from .core import old\n", "pkg/core.py": "def old(): ...\n"}
    )
    assert tried.text("pkg/core.py") == "def new(): ...\n"
    assert tried.text("pkg/__init__.py") == "from .core import new\n"


async def test_names_made_on_demand_by_a_package_follow() -> None:
    package = (
        '_WHERE = {"old": "core"}\n\ndef __getattr__(name):\n    import importlib\n'
        "    return getattr(importlib.import_module('pkg.' + _WHERE[name]), name)\n"
    )
    tried = await attempt(
        "rename pkg.core:old to new",
        {"pkg/__init__.py": package, "pkg/core.py": "def old(): ...\n", "use.py": "from pkg import old\nold()\n"},
    )
    assert '{"new": "core"}' in tried.text("pkg/__init__.py")
    assert tried.text("use.py") == "from pkg import new\nnew()\n"


async def test_local_names_parameters_attributes_and_keywords_of_the_same_word_stay() -> None:
    other = (
        "from m import old as _\n"
        "def f(old):\n    return old\n"
        "def g():\n    old = 1\n    return [old for old in range(old)]\n"
        "class C:\n    old = 2\n    def h(self):\n        return self.old\n"
        "f(old=3)\nlambda old: old\n"
    )
    tried = await attempt("rename m:old to new", {"m.py": HELPERS, "other.py": other})
    assert tried.text("other.py") == other.replace("import old as", "import new as")


async def test_a_class_body_means_the_outer_name_until_it_binds_its_own() -> None:
    source = "def old(): ...\nclass C:\n    old = staticmethod(old)\n    again = old\n"
    tried = await attempt("rename m:old to new", {"m.py": source})
    assert tried.text("m.py") == "def new(): ...\nclass C:\n    old = staticmethod(new)\n    again = old\n"


async def test_string_annotations_and_type_comments_follow_and_literals_do_not() -> None:
    source = (
        "from typing import Literal, Optional\n"
        "class Old: ...\n"
        'def f(a: "Old", b: Optional["Old"], c: Literal["Old"]) -> "list[Old]":\n    d = []  # type: list[Old]\n'
    )
    tried = await attempt("rename m:Old to New", {"m.py": source})
    assert 'def f(a: "New", b: Optional["New"], c: Literal["Old"]) -> "list[New]":' in tried.text("m.py")
    assert "# type: list[New]" in tried.text("m.py")


async def test_strings_comments_docstrings_and_documents_are_listed_and_stay() -> None:
    files = {
        "m.py": 'def some_old(x):\n    """some_old does it."""\n    # some_old again\n    raise ValueError("some_old fails")\n',
        "docs/api.rst": "Call some_old.\n",
    }
    tried = await attempt("rename m:some_old to some_new", files)
    assert tried.text("m.py") == files["m.py"].replace("def some_old", "def some_new")
    assert tried.changed() == ["m.py"]
    assert tried.at(tried.outcome.mentions) == ["docs/api.rst:1", "m.py:2", "m.py:3", "m.py:4"]


async def test_mentions_change_where_asked_and_only_of_that_kind() -> None:
    files = {
        "m.py": 'def some_old(x):\n    """some_old does it."""\n    # some_old again\n    raise ValueError("some_old fails")\n',
        "docs/api.rst": "Call some_old.\n",
    }
    tried = await attempt("rename m:some_old to some_new with mentions docs,comments", files)
    expected = files["m.py"].replace("some_old", "some_new").replace('"some_new fails"', '"some_old fails"')
    assert tried.text("m.py", "reference", "mention") == expected
    assert tried.text("docs/api.rst", "reference", "mention") == "Call some_new.\n"
    assert tried.at(tried.outcome.mentions) == ["m.py:4"]


async def test_names_in_generated_code_are_unresolved_with_a_residual_edit_on_top() -> None:
    runtime = "class Old: ...\nexported = ['Old']\n"
    compiler = "from runtime import Old\ndef emit(name):\n    return f'{name} = Old({name})'\n"
    tried = await attempt("rename runtime:Old to New", {"runtime.py": runtime, "compiler.py": compiler})
    assert tried.at(tried.outcome.unresolved) == ["compiler.py:3", "runtime.py:2"]
    assert "Old({name})" in tried.text("compiler.py")
    assert tried.text("compiler.py", "reference", "residual") == compiler.replace("Old", "New")
    by_kind = {(edit.path, edit.kind): edit for edit in tried.outcome.edits}
    assert by_kind["compiler.py", "residual"].before == by_kind["compiler.py", "reference"].after


async def test_dotted_names_in_strings_and_settings_are_unresolved() -> None:
    tried = await attempt(
        "rename pkg.mod:old_one to new_one",
        {
            "pkg/__init__.py": "",
            "pkg/mod.py": "def old_one(): ...\n",
            "pyproject.toml": '[project.scripts]\nrun = "pkg.mod:old_one"\n',
            "test_it.py": "from unittest import mock\nmock.patch('pkg.mod.old_one')\n",
        },
    )
    assert tried.at(tried.outcome.unresolved) == ["pyproject.toml:2", "test_it.py:2"]
    assert tried.changed("residual") == ["pyproject.toml", "test_it.py"]


async def test_an_attribute_of_unknown_type_is_unresolved_not_guessed() -> None:
    tried = await attempt("rename m:old to new", {"m.py": HELPERS, "u.py": "def f(thing):\n    return thing.old(1)\n"})
    assert tried.at(tried.outcome.unresolved) == ["u.py:2"]
    assert tried.changed() == ["m.py"]


async def test_getattr_on_the_module_is_a_reference() -> None:
    tried = await attempt("rename m:old to new", {"m.py": HELPERS, "u.py": "import m\ngetattr(m, 'old')(1)\n"})
    assert tried.text("u.py") == "import m\ngetattr(m, 'new')(1)\n"


async def test_a_file_with_a_syntax_error_is_listed_and_the_rest_goes_on() -> None:
    tried = await attempt(
        "rename m:old to new",
        {"m.py": HELPERS, "bad.py": "from m import old\ndef (:\n", "good.py": "from m import old\n"},
    )
    assert tried.changed() == ["good.py", "m.py"]
    assert tried.at(tried.outcome.problems) == ["bad.py:2"]
    assert tried.at(tried.outcome.unresolved) == ["bad.py:1"]


@pytest.mark.parametrize("new", ["class", "1st", "a-b", "old"])
async def test_what_can_be_no_new_name_is_refused(new: str) -> None:
    with pytest.raises(NameNotUsable):
        await attempt(f"rename m:old to {new}", {"m.py": HELPERS})


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"m.py": HELPERS + "new = 1\n"}, "m.py:3"),
        ({"m.py": HELPERS, "u.py": "from m import old\nnew = 1\n"}, "u.py:2"),
        ({"m.py": HELPERS, "u.py": "from m import old\ndef f(new):\n    return old(new)\n"}, "u.py:2"),
        ({"m.py": HELPERS, "u.py": "from m import *\nnew = old\n"}, "u.py:2"),
    ],
)
async def test_a_new_name_that_would_shadow_or_be_shadowed_is_refused_with_the_place(
    files: dict[str, str], place: str
) -> None:
    with pytest.raises(NameNotUsable) as caught:
        await attempt("rename m:old to new", files)
    assert place in caught.value.places


async def test_a_builtin_that_is_used_is_not_hidden() -> None:
    with pytest.raises(NameNotUsable) as caught:
        await attempt("rename m:old to len", {"m.py": HELPERS + "len([])\n"})
    assert caught.value.places == ("m.py:3",)


async def test_hiding_a_builtin_nobody_uses_is_noted() -> None:
    tried = await attempt("rename m:old to format", {"m.py": HELPERS})
    assert [decision.question for decision in tried.outcome.decisions] == ["May format hide the builtin of that name?"]


async def test_an_unknown_symbol_is_answered_with_near_matches() -> None:
    with pytest.raises(SymbolNotFound, match=r"pkg\.mod:get_root_path"):
        await attempt(
            "rename pkg.mod:get_rot_path to x", {"pkg/__init__.py": "", "pkg/mod.py": "def get_root_path(): ...\n"}
        )
    with pytest.raises(SymbolNotFound, match=r"pkg\.helpers"):
        await attempt("rename pkg.helper:f to x", {"pkg/__init__.py": "", "pkg/helpers.py": "def f(): ...\n"})


async def test_a_bare_name_that_several_modules_define_is_ambiguous() -> None:
    with pytest.raises(SymbolAmbiguous) as caught:
        await attempt("rename old to new", {"a.py": HELPERS, "b.py": HELPERS})
    assert caught.value.places == ("a:old", "b:old")


async def test_a_bare_name_that_one_module_defines_is_found() -> None:
    assert (await attempt("rename old to new", {"a.py": HELPERS})).text("a.py").startswith("def new")


async def test_bytes_outside_the_names_stay_with_any_encoding_and_line_ends() -> None:
    files = {
        "m.py": b"\xef\xbb\xbfdef old():\r\n    return '\xf0\x9f\x90\x8d', old  \t\r\n",
        "latin.py": "# -*- coding: latin-1 -*-\nfrom m import old\nx = 'é'; old()".encode("latin-1"),
        "astral.py": "from m import old\nx = '🐍🐍'; old(); y = '𝒳'; old()\n".encode(),
    }
    tried = await attempt("rename m:old to new_name", files)
    assert tried.after() == {path: data.replace(b"old", b"new_name") for path, data in files.items()}


async def test_several_definitions_of_one_name_change_together() -> None:
    source = "try:\n    from fast import old\nexcept ImportError:\n    def old(): ...\nif old:\n    old()\n"
    tried = await attempt("rename m:old to new", {"m.py": source, "fast.py": "def old(): ...\n"})
    assert "def new" in tried.text("m.py")
    assert "if new:\n    new()" in tried.text("m.py")


async def test_exported_names_that_were_in_order_stay_in_order() -> None:
    source = (
        '__all__ = [\n    "alpha",\n    "Beta",\n    "old",\n    "zulu",\n]\nalpha = Beta = zulu = 1\ndef old(): ...\n'
    )
    tried = await attempt("rename m:old to zz", {"m.py": source})
    assert tried.text("m.py").startswith('__all__ = [\n    "alpha",\n    "Beta",\n    "zulu",\n    "zz",\n]\n')
    moved = await attempt("rename m:old to all_first", {"m.py": source})
    assert moved.text("m.py").startswith('__all__ = [\n    "all_first",\n    "alpha",\n    "Beta",\n    "zulu",\n]\n')
    unordered = await attempt("rename m:old to zz", {"m.py": source.replace('"alpha",', '"zulu",', 1)})
    assert unordered.text("m.py").startswith('__all__ = [\n    "zulu",\n    "Beta",\n    "zz",\n    "zulu",\n]\n')
