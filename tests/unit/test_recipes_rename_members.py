"""Renaming methods and attributes along their family. Bug class: an override left behind, a namesake of another class changed."""

from __future__ import annotations

import pytest

from cavalcade.kernel.errors import NameNotUsable, RecipeRefused, SymbolNotFound
from cavalcade.testing.plans import attempt

FAMILY = """class Base:
    def old(self):
        return 1

class Left(Base):
    def old(self):
        return super().old() + 1

class Right(Base):
    pass

class Other:
    def old(self):
        return 0

def use(b: Base, o: Other):
    return b.old() + Left().old() + Right().old() + o.old() + Other().old()
"""


async def test_overrides_and_calls_through_them_change_and_namesakes_stay() -> None:
    tried = await attempt("rename m:Base.old to new", {"m.py": FAMILY})
    text = tried.text("m.py")
    assert text.count("def new(self)") == 2
    assert "class Other:\n    def old(self)" in text
    assert "super().new()" in text
    assert "b.new() + Left().new() + Right().new() + o.old() + Other().old()" in text
    assert [decision.question for decision in tried.outcome.decisions] == ["Which definitions of old change together?"]


async def test_the_family_is_the_same_from_whichever_member_it_is_named() -> None:
    from_base = await attempt("rename m:Base.old to new", {"m.py": FAMILY})
    from_override = await attempt("rename m:Left.old to new", {"m.py": FAMILY})
    from_heir = await attempt("rename m:Right.old to new", {"m.py": FAMILY})
    assert from_base.after() == from_override.after() == from_heir.after()


async def test_siblings_of_a_common_base_in_other_files_follow() -> None:
    tried = await attempt(
        "rename pkg.a:A.old to new",
        {
            "pkg/__init__.py": "from .base import Base as Root\n",
            "pkg/base.py": "class Base:\n    def old(self): ...\n",
            "pkg/a.py": "from pkg import base\nclass A(base.Base):\n    def old(self): ...\n",
            "pkg/b.py": "from .base import Base\nclass B(Base):\n    def old(self): ...\n",
        },
    )
    assert tried.changed() == ["pkg/a.py", "pkg/b.py", "pkg/base.py"]


async def test_a_mixin_that_is_joined_by_a_common_subclass_is_family() -> None:
    source = "class A:\n    def old(self): ...\nclass B:\n    def old(self): ...\nclass C(A, B):\n    def go(self):\n        self.old()\n"
    tried = await attempt("rename m:B.old to new", {"m.py": source})
    assert tried.text("m.py") == source.replace("old", "new")


async def test_an_untyped_receiver_is_residual_and_would_be_mended() -> None:
    files = {"m.py": "class A:\n    def old(self): ...\n", "t.py": "def test(app):\n    app.old()\n"}
    tried = await attempt("rename m:A.old to new", files)
    assert tried.changed() == ["m.py"]
    assert tried.at(tried.outcome.unresolved) == ["t.py:2"]
    assert tried.text("t.py", "reference", "residual") == "def test(app):\n    app.new()\n"


async def test_a_class_attribute_follows_through_getattr_and_overrides() -> None:
    source = (
        "class Field:\n    messages_of = {}\n    def all(self):\n        for cls in type(self).__mro__:\n"
        "            yield getattr(cls, 'messages_of', {})\nclass Int(Field):\n    messages_of = {'a': 1}\n"
    )
    tried = await attempt("rename m:Field.messages_of to texts_of", {"m.py": source})
    assert tried.text("m.py") == source.replace("messages_of", "texts_of")


async def test_getattr_of_an_ambiguous_word_is_unresolved() -> None:
    source = "class A:\n    old = 1\nclass B:\n    old = 2\ndef f(x):\n    return getattr(x, 'old')\n"
    tried = await attempt("rename m:A.old to new", {"m.py": source})
    assert tried.at(tried.outcome.unresolved) == ["m.py:6"]


async def test_an_instance_attribute_changes_wherever_self_or_a_typed_receiver_has_it() -> None:
    source = (
        "class App:\n    __slots__ = ('old',)\n    def __init__(self):\n        self.old = {}\n"
        "class Sub(App):\n    def go(self):\n        return self.old\ndef f(app: App):\n    return app.old\napp = Sub()\napp.old\n"
    )
    tried = await attempt("rename m:App.old to new", {"m.py": source})
    assert tried.text("m.py") == source.replace("old", "new")


async def test_a_field_takes_its_constructor_keywords_along() -> None:
    source = (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    old: int = 0\np = P(old=1)\n"
        "match p:\n    case P(old=2):\n        print(p.old)\ndict(old=3)\n"
    )
    tried = await attempt("rename m:P.old to new", {"m.py": source})
    assert tried.text("m.py") == source.replace("old", "new").replace("dict(new=3)", "dict(old=3)")


async def test_a_property_with_setter_changes_as_one() -> None:
    source = "class A:\n    @property\n    def old(self): return 1\n    @old.setter\n    def old(self, v): ...\na = A()\na.old = 2\n"
    tried = await attempt("rename m:A.old to new", {"m.py": source})
    assert tried.text("m.py") == source.replace("old", "new")


async def test_an_override_of_a_method_from_outside_is_refused_with_the_place() -> None:
    source = "import threading\nclass Mine(threading.Thread):\n    def run(self): ...\n"
    with pytest.raises(RecipeRefused, match=r"threading\.Thread\.run") as caught:
        await attempt("rename m:Mine.run to go", {"m.py": source})
    assert caught.value.places == ("m.py:Mine",)


async def test_a_base_from_outside_that_lacks_the_method_is_no_hindrance() -> None:
    source = "import threading\nclass Mine(threading.Thread):\n    def old(self): ...\n"
    tried = await attempt("rename m:Mine.old to new", {"m.py": source})
    assert tried.text("m.py") == source.replace("old", "new")
    assert tried.outcome.decisions == ()


async def test_a_base_nobody_can_see_is_noted() -> None:
    source = "from not_installed import Thing\nclass Mine(Thing):\n    def old(self): ...\n"
    tried = await attempt("rename m:Mine.old to new", {"m.py": source})
    assert [d.question for d in tried.outcome.decisions] == ["Do bases outside the repository define old?"]


async def test_special_methods_keep_their_names() -> None:
    with pytest.raises(RecipeRefused, match="Python itself"):
        await attempt("rename m:A.__len__ to size", {"m.py": "class A:\n    def __len__(self): return 1\n"})


async def test_a_name_that_some_class_of_the_family_has_is_refused() -> None:
    source = FAMILY.replace("class Right(Base):\n    pass", "class Right(Base):\n    def new(self): ...")
    with pytest.raises(NameNotUsable) as caught:
        await attempt("rename m:Left.old to new", {"m.py": source})
    assert caught.value.places == ("m.py:10",)


async def test_an_unknown_member_is_answered_with_near_ones() -> None:
    with pytest.raises(SymbolNotFound, match=r"m:Left\.old"):
        await attempt("rename m:Left.olt to new", {"m.py": FAMILY})
