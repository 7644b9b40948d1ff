"""The stop file: while it is there nothing starts, and whatever runs stops. Any means of making it will do."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from cavalcade.kernel.errors import LedgerUnwritable, Refused

_LOOK_S = 0.1
_MOST_BYTES = 1000


def hold(file: Path, by: str, reason: str) -> None:
    """Raises LedgerUnwritable."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(f"{by}: {reason}\n" if reason else f"{by}\n", encoding="utf-8")
        new.replace(file)
    except OSError as exc:
        raise _unwritable(file, exc) from exc


def release(file: Path) -> bool:
    """Whether it was there. Raises LedgerUnwritable."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise _unwritable(file, exc) from exc
    return True


def held(file: Path) -> str | None:
    """What the stop file says, in one line; None where there is none. One that can't be read holds as well."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError:
        text = ""
    return " ".join(text.split()) or f"{file} is there"


def check_hold(file: Path) -> None:
    """Before anything starts. Raises Refused while the stop file is there."""
    if (why := held(file)) is not None:
        raise Refused(
            f"nothing may start: {why}", hint=f"`cavalcade stop --release` removes {file}; then `cavalcade resume RUN`"
        )


async def wait_held(file: Path) -> str:
    """What the stop file says, as soon as it is there: nobody else tells of it, so it is looked for."""
    while (why := held(file)) is None:  # noqa: ASYNC110 - anybody makes it, and nobody tells
        await asyncio.sleep(_LOOK_S)
    return why


def _unwritable(file: Path, exc: OSError) -> LedgerUnwritable:
    return LedgerUnwritable(
        f"the stop file {file} can't be changed: {exc.strerror}", hint="make its folder writable and try again"
    )
