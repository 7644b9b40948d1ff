"""Which ledger is used: the file in the data folder, or the database that `CAVALCADE_LEDGER` names."""

from __future__ import annotations

from collections.abc import Mapping

from cavalcade.kernel.errors import UsageError

VARIABLE = "CAVALCADE_LEDGER"
_POSTGRES = ("postgresql://", "postgres://")


def ledger_url(environ: Mapping[str, str]) -> str:
    """The address of a PostgreSQL database, empty for the file. It may hold a password: show it nowhere.

    Raises UsageError for another kind of address.
    """
    url = environ.get(VARIABLE, "").strip()
    if url and not url.startswith(_POSTGRES):
        raise UsageError(
            f"{VARIABLE} is no address of a ledger (it is not shown, since it may hold a password)",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            hint=f"correct it, or `unset {VARIABLE}` for the ledger in the data folder",
        )
    return url
