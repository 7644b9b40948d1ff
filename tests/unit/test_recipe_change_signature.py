"""The recipe *change signature* on small packages: the result is run by Python, with calls of the new form and of the old one.

Bug class these catch: a caller that passes the wrong value after the change, an old call that breaks or is swapped in silence, a wrapper
that hides what kind of function it wraps, an override left behind.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from cavalcade.kernel.errors import NameNotUsable, RecipeRefused
from cavalcade.protocol.plan import Mention, RecipeCall
from cavalcade.recipes.change_signature import ChangeSignature
from cavalcade.recipes.port import Outcome
from cavalcade.recipes.signature import change_to, read_signature
from cavalcade.recipes.signature_text import rewrite_list
from cavalcade.terrain.terrain import Terrain
from cavalcade.testing.trees import MemoryTree

PRICES = '''
def total(amount: int, currency: str = "EUR", debug: bool = False) -> str:
    """What it costs.

    :param amount: how much
    """
    return f"{amount} {currency}"
'''


class Changed:
    """A package before and after; `outcome` is the plan."""

    def __init__(self, folder: Path, files: Mapping[str, str], outcome: Outcome) -> None:
        self.folder = folder
        self.outcome = outcome
        self.files = dict(files)
        for edit in outcome.edits:
            assert edit.after is not None
            self.files[edit.path] = edit.after.decode()
            (folder / edit.path).write_bytes(edit.after)

    def run(self, code: str, *, warnings: str = "error") -> str:
        """Standard output of the code; a warning is an error unless `warnings` says `default`."""
        command = [sys.executable, "-B", "-W", warnings, "-c", dedent(code)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() + ("\n" + done.stderr if done.stderr else "")

    def old(self, expression: str, imports: str) -> str:
        """The value of an old call, which must warn once, at the line of the call."""
        code = f"""
            import warnings
            {imports}
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                value = {expression}
            assert [(w.category, w.filename) for w in seen] == [(DeprecationWarning, __file__)], seen
            print(value)
        """
        (self.folder / "old_call.py").write_text(dedent(code))
        command = [sys.executable, "-B", "old_call.py"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


async def change(
    folder: Path, files: Mapping[str, str], symbol: str, to: str, mentions: tuple[Mention, ...] = ()
) -> Changed:
    files = {path: dedent(text) for path, text in files.items()}
    tree = MemoryTree()
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    call = RecipeCall(name="change-signature", arguments={"symbol": symbol, "to": to}, mentions=mentions)
    async with Terrain.open(tree, tree.tree(files), workspace=folder, cache=None) as terrain:
        return Changed(folder, files, await ChangeSignature().plan(call, terrain))


async def test_a_parameter_added_with_a_default_changes_the_definition_and_nothing_else(tmp_path: Path) -> None:
    files = {"prices.py": PRICES, "shop.py": "from prices import total\n\nprint(total(1, 'USD', debug=True))\n"}
    changed = await change(tmp_path, files, "prices:total", "(amount, currency, debug, *, rounding: int = 2)")
    assert [edit.path for edit in changed.outcome.edits] == ["prices.py"]
    expected = PRICES.replace("debug: bool = False)", "debug: bool = False, *, rounding: int = 2)")
    assert changed.files["prices.py"] == expected
    assert changed.run("import shop") == "1 USD"
    assert changed.outcome.unresolved == ()


async def test_a_renamed_parameter_is_renamed_in_the_body_and_in_calls(tmp_path: Path) -> None:
    files = {
        "prices.py": """
            def total(amount, currency="EUR"):
                def inner(currency):
                    return [amount for _ in currency], currency

                amount = amount * 2
                return inner("x"), amount, {"amount": amount}, dict(amount=1)
        """,
        "shop.py": "import prices as p\n\nx = p.total(amount=3)\ny = p.total(4, currency='USD')\n",
    }
    changed = await change(tmp_path, files, "prices:total", "(amount as money, currency)")
    shop = "import prices as p\n\nx = p.total(money=3)\ny = p.total(4, currency='USD')\n"
    assert changed.files["shop.py"] == shop
    result = "(([6], 'x'), 6, {'amount': 6}, {'amount': 1})"
    assert changed.run("import shop; print(shop.x)") == result
    assert changed.old("total(amount=3)", "from prices import total") == result


async def test_equals_renames_a_parameter_too(tmp_path: Path) -> None:
    changed = await change(tmp_path, {"prices.py": PRICES}, "prices:total", "(money=amount, currency, debug)")
    assert changed.run("from prices import total; print(total(money=1))") == "1 EUR"


async def test_old_calls_of_every_form_go_on_with_a_warning_at_the_callers_line(tmp_path: Path) -> None:
    changed = await change(tmp_path, {"prices.py": PRICES}, "prices:total", "(amount as money, *, currency)")
    imports = "from prices import total"
    assert changed.old("total(1, 'USD')", imports) == "1 USD"
    assert changed.old("total(1, 'USD', True)", imports) == "1 USD"
    assert changed.old("total(1, debug=True)", imports) == "1 EUR"
    assert changed.old("total(amount=1, currency='USD')", imports) == "1 USD"
    assert changed.old("total(*[1, 'USD'], **{'debug': False})", imports) == "1 USD"
    assert changed.run(f"{imports}; print(total(1), total(money=1, currency='USD'))") == "1 EUR 1 USD"


async def test_wrong_calls_fail_as_wrong_calls_do(tmp_path: Path) -> None:
    changed = await change(tmp_path, {"prices.py": PRICES}, "prices:total", "(amount as money, *, currency)")
    code = """
        from prices import total
        for args, kwargs in (((), {}), ((1, 2, 3, 4), {}), ((1,), {"other": 1}), ((1, "a"), {"currency": "b"}), ((1,), {"amount": 2})):
            try:
                total(*args, **kwargs)
            except TypeError as exc:
                assert str(exc).startswith("total() "), exc
            else:
                raise SystemExit(f"{args} {kwargs} went through")
    """
    changed.run(code, warnings="ignore")


async def test_after_a_reorder_calls_give_names_and_old_calls_keep_their_order(tmp_path: Path) -> None:
    files = {
        "area.py": "def area(width, height, unit):\n    return f'{width} by {height} {unit}'\n",
        "use.py": "from area import area\n\nx = area(1, 2, 'm')\ny = area(1, unit='m', height=2)\n",
    }
    changed = await change(tmp_path, files, "area:area", "(height, width, unit)")
    assert (
        changed.files["use.py"]
        == "from area import area\n\nx = area(width=1, height=2, unit='m')\ny = area(width=1, unit='m', height=2)\n"
    )
    assert changed.run("import use; print(use.x, '/', use.y)") == "1 by 2 m / 1 by 2 m"
    assert changed.old("area(1, 2, 'm')", "from area import area") == "1 by 2 m"


async def test_arguments_are_evaluated_in_the_order_they_were_written(tmp_path: Path) -> None:
    files = {
        "area.py": "def area(width, height):\n    return width, height\n",
        "use.py": "from area import area\n\n\ndef say(x):\n    print(x)\n    return x\n\n\nr = area(say(1), say(2))\n",
    }
    changed = await change(tmp_path, files, "area:area", "(height, width)")
    assert changed.run("import use; print(use.r)") == "1\n2\n(1, 2)"


async def test_calls_inside_calls_and_odd_arguments_are_rewritten(tmp_path: Path) -> None:
    files = {
        "m.py": "def f(a, b=0, c=0):\n    return (a, b, c)\n",
        "use.py": (
            "from m import f\n\nx = f(f(1, 2), f(3,\n    4,  # four\n    5,\n))\n"
            "y = f([1], (n := 2))\nz = f(1, b=f(2, 3))\nw = f(0, *[1])\n"
        ),
        "gen.py": "from m import f\n\ng = list(f(i for i in range(2))[0])\n",
    }
    changed = await change(tmp_path, files, "m:f", "(*, a, c, b)")
    assert changed.run("import use; print(use.x, use.y, use.z)", warnings="ignore") == (
        "((1, 2, 0), (3, 4, 5), 0) ([1], 2, 0) (1, (2, 3, 0), 0)"
    )
    assert "4,  # four" in changed.files["use.py"]
    assert changed.run("import gen; print(gen.g)") == "[0, 1]"
    assert [(p.path, p.line, p.why) for p in changed.outcome.unresolved] == [
        ("use.py", 9, "gives *args; goes through the wrapper")
    ]


async def test_the_walrus_argument_gets_parentheses(tmp_path: Path) -> None:
    files = {"m.py": "def f(a):\n    return a\n", "use.py": "from m import f\n\nx = f(n := 3)\n"}
    changed = await change(tmp_path, files, "m:f", "(*, a)")
    assert changed.run("import use; print(use.x, use.n)") == "3 3"


async def test_a_removed_argument_goes_only_where_nothing_is_lost(tmp_path: Path) -> None:
    files = {
        "m.py": "def f(a, b=None, c=None):\n    return a, c\n",
        "use.py": (
            "from m import f\n\n\ndef say():\n    print('said')\n\n\n"
            "x = f(1, 2)\ny = f(1, b=[3], c=4)\nz = f(1, say())\nw = f(1, -1,)\n"
        ),
    }
    changed = await change(tmp_path, files, "m:f", "(a, *, c)")
    lines = changed.files["use.py"].splitlines()[7:]
    assert lines == ["x = f(1)", "y = f(1, c=4)", "z = f(1, say())", "w = f(1,)"]
    assert (
        changed.run("import use; print(use.x, use.y, use.z)", warnings="ignore") == "said\n(1, None) (1, 4) (1, None)"
    )
    assert [place.line for place in changed.outcome.unresolved] == [10]


async def test_a_parameter_in_use_is_not_removed(tmp_path: Path) -> None:
    with pytest.raises(RecipeRefused, match="'currency' is used") as refused:
        await change(tmp_path, {"prices.py": PRICES}, "prices:total", "(amount, debug)")
    assert refused.value.places == ("prices.py:7",)


async def test_values_passed_on_are_listed_and_go_through_the_wrapper(tmp_path: Path) -> None:
    files = {
        "m.py": "def f(a, b):\n    return a, b\n",
        "use.py": "from functools import partial\nfrom m import f\n\ng = partial(f, 1)\nh = {'f': f}\n",
    }
    changed = await change(tmp_path, files, "m:f", "(b, a)")
    assert changed.run("import use; print(use.g(2), use.h['f'](3, 4))", warnings="ignore") == "(1, 2) (3, 4)"
    assert [(place.path, place.line) for place in changed.outcome.unresolved] == [("use.py", 4), ("use.py", 5)]


METHODS = {
    "cart.py": """
        from abc import ABC, abstractmethod


        class Base(ABC):
            @abstractmethod
            def add(self, item, count=1):
                raise NotImplementedError


        class Cart(Base):
            def add(self, item, count=1):
                return f"{item}*{count}"


        class Loud(Cart):
            def add(self, item, count=1):
                return super().add(item, count) + "!"


        class Other:
            def add(self, item, count=1):
                return "other"
    """,
    "use.py": """
        from cart import Cart, Loud, Other

        cart = Loud()
        x = cart.add("a", 2)
        y = Cart.add(cart, "b", 3)
        z = Other().add("c", 4)
    """,
}


async def test_a_family_of_methods_changes_together_and_others_by_that_name_stay(tmp_path: Path) -> None:
    changed = await change(tmp_path, METHODS, "cart:Cart.add", "(item as what, *, count)")
    assert changed.files["cart.py"].count("def add(self, what, *, count=1)") == 3
    assert changed.files["cart.py"].count("def add(self, item, count=1)") == 1
    assert "super().add(what, count=count)" in changed.files["cart.py"]
    assert changed.run("import use; print(use.x, use.y, use.z)") == "a*2! b*3 other"
    assert changed.old("Loud().add('a', 2)", "from cart import Loud") == "a*2!"
    assert changed.old("Loud().add(item='a')", "from cart import Loud") == "a*1!"
    code = "from cart import Base\ntry:\n    Base()\nexcept TypeError as exc:\n    print('abstract' in str(exc))"
    assert changed.run(code) == "True"


async def test_calls_on_unknown_things_are_listed_where_they_may_be_meant(tmp_path: Path) -> None:
    use = """
        def go(thing, more):
            thing.add(1, 2)
            thing.add(1, 2, 3, 4)
            thing.add(1)
            thing.add(1, other=2)
            thing.add(*more)
            thing.add()
            return thing.add
    """
    changed = await change(tmp_path, METHODS | {"use.py": use}, "cart:Cart.add", "(item, *, count)")
    assert [(place.path, place.line) for place in changed.outcome.unresolved] == [
        ("use.py", 3),
        ("use.py", 7),
        ("use.py", 9),
    ]
    assert "use.py" not in [edit.path for edit in changed.outcome.edits]


async def test_self_may_be_written_in_the_new_list(tmp_path: Path) -> None:
    changed = await change(tmp_path, METHODS, "cart:Cart.add", "(self, item, count, *, note='')")
    assert changed.files["cart.py"].count("def add(self, item, count=1, *, note='')") == 3
    assert "TYPE_CHECKING" not in changed.files["cart.py"]


async def test_an_override_with_another_signature_refuses_what_can_not_be_told(tmp_path: Path) -> None:
    files = {
        "cart.py": (
            "class Cart:\n    def add(self, item, count=1):\n        return 1\n\n\n"
            "class Odd(Cart):\n    def add(self, thing):\n        return 2\n"
        )
    }
    with pytest.raises(RecipeRefused, match="another definition") as refused:
        await change(tmp_path, files, "cart:Cart.add", "(*, count, item)")
    assert refused.value.places == ("cart.py:7",)
    changed = await change(tmp_path, files, "cart:Cart.add", "(item, count, *, note=None)")
    assert "def add(self, thing, *, note=None)" in changed.files["cart.py"]


async def test_an_override_that_takes_anything_stays_as_it_is(tmp_path: Path) -> None:
    files = {
        "cart.py": (
            "class Cart:\n    def add(self, item, count):\n        return item, count\n\n\n"
            "class Passing(Cart):\n    def add(self, *args, **kwargs):\n        return super().add(*args, **kwargs)\n"
        )
    }
    changed = await change(tmp_path, files, "cart:Cart.add", "(count, item)")
    assert "def add(self, *args, **kwargs):\n        return super().add(*args, **kwargs)\n" in changed.files["cart.py"]
    assert changed.run("from cart import Passing; print(Passing().add(1, 2))", warnings="ignore") == "(1, 2)"


async def test_a_reorder_below_a_base_from_outside_is_refused(tmp_path: Path) -> None:
    files = {
        "shelf.py": (
            "from collections.abc import MutableMapping\n\n\n"
            "class Shelf(MutableMapping):\n    def put(self, a, b):\n        return a\n"
        ),
        "unknown.py": "from nowhere import Base\n\n\nclass Shelf(Base):\n    def put(self, a, b):\n        return a\n",
    }
    with pytest.raises(RecipeRefused, match="not in this repository"):
        await change(tmp_path, files, "unknown:Shelf.put", "(b, a)")
    changed = await change(tmp_path, files, "shelf:Shelf.put", "(b, a)")
    assert "def put(self, b, a)" in changed.files["shelf.py"]


async def test_static_and_class_methods_keep_their_kind(tmp_path: Path) -> None:
    files = {
        "m.py": """
            class Tool:
                @staticmethod
                def static(a, b):
                    return a, b

                @classmethod
                def made(cls, a, b):
                    return cls.__name__, a, b


            class Special(Tool):
                pass
        """,
        "use.py": "from m import Special, Tool\n\nx = Tool.static(1, 2)\ny = Special.made(3, 4)\nz = Special().made(5, b=6)\n",
    }
    changed = await change(tmp_path, files, "m:Tool.static", "(b, a)")
    assert changed.run("import use; print(use.x)") == "(1, 2)"
    assert changed.old("Special().static(1, 2)", "from m import Special") == "(1, 2)"
    changed = await change(tmp_path, files, "m:Tool.made", "(a, *, b)")
    assert changed.run("import use; print(use.y, use.z)") == "('Special', 3, 4) ('Special', 5, 6)"
    assert changed.old("Special.made(3, 4)", "from m import Special") == "('Special', 3, 4)"


async def test_a_constructor_changes_with_the_calls_of_its_class_and_heirs(tmp_path: Path) -> None:
    files = {
        "m.py": """
            class Point:
                def __init__(self, x, y):
                    self.at = (x, y)


            class Named(Point):
                def __init__(self, name, x, y):
                    super().__init__(x, y)
                    self.name = name


            class Plain(Point):
                pass
        """,
        "use.py": "from m import Named, Plain, Point\n\na = Point(1, 2)\nb = Plain(3, 4)\nc = Named('n', 5, 6)\n",
    }
    for symbol in ("m:Point", "m:Point.__init__"):
        changed = await change(tmp_path, files, symbol, "(*, x, y)")
        assert "a = Point(x=1, y=2)\nb = Plain(x=3, y=4)\nc = Named('n', 5, 6)\n" in changed.files["use.py"]
        assert "super().__init__(x=x, y=y)" in changed.files["m.py"]
        assert changed.run("import use; print(use.a.at, use.b.at, use.c.at)") == "(1, 2) (3, 4) (5, 6)"
        assert changed.old("Plain(3, 4).at", "from m import Plain") == "(3, 4)"


async def test_coroutine_functions_stay_coroutine_functions_and_generators_generators(tmp_path: Path) -> None:
    files = {
        "m.py": """
            async def fetch(url, retries):
                return url, retries


            def numbers(first, last):
                yield from range(first, last)


            async def ticks(first, last):
                for i in range(first, last):
                    yield i
        """,
        "use.py": """
            import asyncio

            from m import fetch, numbers, ticks


            async def main():
                return await fetch("u", 2), list(numbers(1, 3)), [i async for i in ticks(1, 3)]


            result = asyncio.run(main())
        """,
    }
    for name in ("fetch", "numbers", "ticks"):
        to = "(*, url, retries)" if name == "fetch" else "(*, first, last)"
        changed = await change(tmp_path, files, f"m:{name}", to)
        assert changed.run("import use; print(use.result)") == "(('u', 2), [1, 2], [1, 2])"
    changed = await change(tmp_path, files, "m:fetch", "(*, url, retries)")
    assert changed.run("import inspect, m; print(inspect.iscoroutinefunction(m.fetch))") == "True"
    assert changed.old(
        "asyncio.run(call())", "import asyncio, m\n            async def call(): return await m.fetch('u', 2)"
    ) == ("('u', 2)")


async def test_defaults_are_evaluated_once(tmp_path: Path) -> None:
    files = {"m.py": "def f(a, kept=[]):\n    kept.append(a)\n    return kept\n"}
    changed = await change(tmp_path, files, "m:f", "(a as item, kept, *, stamp=object())")
    code = "import m; m.f(1); m.f(item=2); print(m.f(3), m.f.__wrapped__.__kwdefaults__['stamp'] is not None)"
    assert changed.run(code) == "[1, 2, 3] True"
    assert changed.old("(m.f(1), m.f(a=2))[1]", "import m") == "[1, 2]"


async def test_introspection_sees_the_new_signature_name_and_docstring(tmp_path: Path) -> None:
    changed = await change(tmp_path, {"prices.py": PRICES}, "prices:total", "(amount as money, currency)")
    code = """
        import inspect, pickle, prices
        f = prices.total
        print(inspect.signature(f), f.__name__, f.__module__, f.__doc__.split(".")[0], pickle.loads(pickle.dumps(f)) is f)
    """
    expected = "(money: int, currency: str = 'EUR') -> str total prices What it costs True"
    assert changed.run(code) == expected


async def test_stubs_and_overloads_change_with_the_definition(tmp_path: Path) -> None:
    files = {
        "m.py": "def f(a, b=1):\n    return a, b\n",
        "m.pyi": "def f(a: int, b: int = ...) -> tuple[int, int]: ...\n",
        "o.py": """
            from typing import overload


            @overload
            def g(a: int, b: int) -> int: ...
            @overload
            def g(a: str, b: str) -> str: ...
            def g(a, b):
                return a
        """,
    }
    changed = await change(tmp_path, files, "m:f", "(a as first, b)")
    assert changed.files["m.pyi"] == "def f(first: int, b: int = ...) -> tuple[int, int]: ...\n"
    changed = await change(tmp_path, files, "o:g", "(*, b, a)")
    text = changed.files["o.py"]
    assert "from typing import TYPE_CHECKING, overload\n" in text
    assert "def g(*, b: int, a: int) -> int: ..." in text
    assert "def g(*, b: str, a: str) -> str: ..." in text
    assert changed.run("import o; print(o.g(a=1, b=2))") == "1"
    assert changed.old("o.g(1, 2)", "import o") == "1"


async def test_a_second_change_goes_on_top_of_the_first(tmp_path: Path) -> None:
    files = {"m.py": "def f(a, b):\n    return a, b\n", "use.py": "import m\n\nx = m.f(1, 2)\n"}
    first = await change(tmp_path, files, "m:f", "(a as first, *, b)")
    second = await change(tmp_path, first.files, "m:f", "(*, first as start, b as stop)")
    assert "x = m.f(start=1, stop=2)" in second.files["use.py"]
    assert second.run("import use; print(use.x)") == "(1, 2)"
    assert second.run("import m; print(m.f(1, 2), m.f(a=1, b=2), m.f(first=1, b=2))", warnings="ignore") == (
        "(1, 2) (1, 2) (1, 2)"
    )


async def test_mentions_in_the_docstring_are_listed_and_changed_where_asked(tmp_path: Path) -> None:
    to = "(amount as money, currency, debug)"
    changed = await change(tmp_path, {"prices.py": PRICES}, "prices:total", to)
    assert [(place.path, place.line) for place in changed.outcome.mentions] == [("prices.py", 5)]
    assert ":param amount:" in changed.files["prices.py"]
    changed = await change(tmp_path, {"prices.py": PRICES}, "prices:total", to, mentions=("docs",))
    assert ":param money:" in changed.files["prices.py"]


async def test_definitions_come_first_and_callers_are_a_group_of_their_own(tmp_path: Path) -> None:
    files = {"z.py": "def f(a, b):\n    return a, b\n", "a.py": "from z import f\n\nx = f(1, 2)\n"}
    changed = await change(tmp_path, files, "z:f", "(b, a)")
    assert [(edit.path, edit.group) for edit in changed.outcome.edits] == [("z.py", "definition"), ("a.py", "callers")]


async def test_windows_line_ends_and_a_missing_last_one_are_kept(tmp_path: Path) -> None:
    tree = MemoryTree()
    source = b"import os\r\n\r\n\r\ndef f(a, b):\r\n    return a, b"
    (tmp_path / "m.py").write_bytes(source)
    call = RecipeCall(name="change-signature", arguments={"symbol": "m:f", "to": "(b, a)"})
    async with Terrain.open(tree, tree.tree({"m.py": source}), workspace=tmp_path, cache=None) as terrain:
        (edit,) = (await ChangeSignature().plan(call, terrain)).edits
    assert edit.after is not None
    assert b"\n" not in edit.after.replace(b"\r\n", b"")
    compile(edit.after, "m.py", "exec")


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("(amount, currency, debug, extra)", "no default"),
        ("(amount as currency, currency as amount, debug)", "would mean another parameter"),
        ("(amount, currency='USD', debug)", "changes what calls without it do"),
        ("(currency, amount, debug)", "follows default"),
        ("(sum as money, currency, debug)", "no parameter 'sum'"),
        ("(amount, currency, debug, /)", "no longer be given by keyword"),
        ("(amount, currency, debug, *more)", "collect"),
        ("(amount, currency, debug", "no parentheses"),
        ("(amount, currency, debug)", "already"),
        ("(amount as money, currency as money, debug)", "two parameters"),
    ],
)
async def test_what_would_change_the_meaning_of_old_calls_is_refused(tmp_path: Path, to: str, reason: str) -> None:
    with pytest.raises(RecipeRefused, match=reason):
        await change(tmp_path, {"prices.py": PRICES}, "prices:total", to)


@pytest.mark.parametrize(
    ("code", "to", "reason"),
    [
        ("def f(a, *rest):\n    return a\n", "(*rest, a)", r"\*args"),
        ("def f(a, **more):\n    return a\n", "(a, *, b=1, **more)", "by keyword already"),
        ("def f(a, *rest):\n    return a\n", "(a)", "collects arguments"),
        ("def f(a):\n    return locals()\n", "(a as b)", "reach its parameters by name"),
        ("import functools\n\n\n@functools.cache\ndef f(a, b):\n    return a\n", "(b, a)", "decorated with @cache"),
        ("class f:\n    pass\n", "(a)", "no __init__ of its own"),
        ("f = 1\n", "(a)", "is a variable"),
    ],
)
async def test_what_can_not_be_proven_is_refused(tmp_path: Path, code: str, to: str, reason: str) -> None:
    with pytest.raises(RecipeRefused, match=reason):
        await change(tmp_path, {"m.py": code}, "m:f", to)


async def test_a_new_name_that_the_body_uses_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(NameNotUsable, match="'b' already means something") as refused:
        await change(tmp_path, {"m.py": "def f(a):\n    b = 2\n    return a + b\n"}, "m:f", "(a as b)")
    assert refused.value.places == ("m.py:2",)


@pytest.mark.parametrize(
    ("old", "to", "new"),
    [
        ("(a, b)", "(b, a, *, c=1)", "(b, a, *, c=1)"),
        ("(a: int, *, b: str = 'x')", "(a, *, b as c, d: int = 2)", "(a: int, *, c: str = 'x', d: int = 2)"),
        ("(a, /, b)", "(a as q, /, b)", "(q, /, b)"),
        ("(a, *args, b, **kw)", "(a, *args, b as c, **kw)", None),
        ("(a, *args, b)", "(a, *args, b, c=1)", "(a, *args, b, c=1)"),
        ("()", "(c=1)", "(c=1)"),
        ("(a, b=1, c=2)", "(a, d=3, *, b, c)", None),
        ("(a, b=1, c=2)", "(a, *, b=1, c)", "(a, *, b=1, c=2)"),
        ("(a, b=lambda x, y: x)", "(a, b as cb)", "(a, cb=lambda x, y: x)"),
        (
            "(\n    a: int,  # first\n    b: str,  # second\n    *,\n    c: bool = True,  # third\n)",
            "(b, a, *, d: int = 3, c)",
            "(\n    b: str,  # second\n    a: int,  # first\n    *,\n    d: int = 3,\n    c: bool = True,  # third\n)",
        ),
        ("(\n    a,\n    b\n)", "(a, b, c=1)", "(\n    a,\n    b,\n    c=1\n)"),
        ("(\n    a,\n    b,  # last\n)", "(b, a)", "(\n    b,  # last\n    a,\n)"),
        ("(\n    a,\n)", "(a, b=None)", "(\n    a,\n    b=None,\n)"),
    ],
)
def test_the_list_keeps_its_layout_comments_and_annotations(old: str, to: str, new: str | None) -> None:
    if new is None:
        with pytest.raises(RecipeRefused):
            change_to(read_signature(old), to)
    else:
        assert rewrite_list(old, 0, change_to(read_signature(old), to)) == new
