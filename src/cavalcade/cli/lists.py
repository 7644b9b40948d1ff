"""Long lists for people: cut, and saying where the rest is. Labels and their text side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from cavalcade.protocol.plan import Place

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

SHOWN = 10
_WIDEST = 100
"""Characters of a line of the project that are shown."""
T = TypeVar("T")


class Sheet:
    """Rows of label and text. `everything` keeps long lists whole; `rest` is the command that shows them."""

    def __init__(self, rest: str, *, everything: bool = False) -> None:
        from rich.table import Table

        self.table: Table = Table.grid(padding=(0, 2))
        self.table.add_column(no_wrap=True, style="bold", min_width=len("objective"))
        self.table.add_column(overflow="fold")
        self._rest = rest
        self._shown = None if everything else SHOWN

    def row(self, label: str, text: str | Text) -> None:
        from rich.text import Text

        self.table.add_row(label, text if isinstance(text, Text) else Text(text))

    def several(self, label: str, items: Sequence[T], say: Callable[[T], str | Text]) -> None:
        """One row each, the label on the first; nothing at all for an empty list."""
        shown = items if self._shown is None or len(items) <= self._shown + 1 else items[: self._shown]
        for index, item in enumerate(shown):
            self.row(label if index == 0 else "", say(item))
        if len(shown) < len(items):
            self.row("", f"... and {len(items) - len(shown):,} more; {self._rest}")


def place_text(place: Place) -> Text:
    """`path:line  the line's text  why`."""
    from rich.text import Text

    text = Text(f"{place.path}:{place.line}" if place.line else place.path)
    if place.text:
        shown = place.text.strip()
        text.append(f"  {shown[:_WIDEST]}{'...' if len(shown) > _WIDEST else ''}", "dim")
    if place.why:
        text.append(f"  ({place.why})", "italic")
    return text


def lines(items: Iterable[str]) -> Text:
    from rich.text import Text

    return Text("\n").join(Text(item) for item in items)
