"""Which sandbox the person allows, and where it is looked for: what the environment says about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cavalcade.cli.find import home_folder
from cavalcade.config.paths import DataFolder
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.sandbox.choosing import Surroundings
from cavalcade.sandbox.wasm_guests import FOLDER_VARIABLE

VARIABLE = "CAVALCADE_SANDBOX"


def asked_sandbox(environ: Mapping[str, str]) -> str:
    """`auto`, or the only one that may be used."""
    return environ.get(VARIABLE) or "auto"


def sandbox_surroundings(
    folder: DataFolder, environ: Mapping[str, str], clock: Clock, entropy: Entropy
) -> Surroundings:
    guests = environ.get(FOLDER_VARIABLE)
    return Surroundings(
        cache=folder.probes,
        python=Path(sys.executable),
        home=home_folder(environ),
        search_path=environ.get("PATH", ""),
        clock=clock,
        entropy=entropy,
        wasm_guests=Path(guests).absolute() if guests else None,
    )
