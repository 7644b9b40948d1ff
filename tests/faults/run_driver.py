"""One process of a run whose n-th write is its last: `run_driver.py HOME REPOSITORY OBJECTIVE FUSE [resume]`.

Every write goes through the fuse twice, before and after it happens. At the `FUSE`-th crossing the process ends by `os._exit`, as
abruptly as a power cut of this one process. Without a crash it prints how many crossings there were.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from cavalcade.cli.compose import System
from cavalcade.config.paths import data_folder
from cavalcade.content.git import GitContentStore
from cavalcade.content.port import ContentStore
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.events import Settings
from cavalcade.recipes.objective import parse_objective
from cavalcade.testing.crashing import CrashingContent, CrashingLedger, Fuse


class CrashingSystem(System):
    fuse: Callable[[], None]

    def open_content(self, folder: Path) -> ContentStore:
        return CrashingContent(GitContentStore(folder), self.fuse)


async def main(home: Path, repository: Path, objective: str, fuse: Fuse, resume: bool) -> None:
    environ = {"CAVALCADE_HOME": str(home), "PATH": os.environ["PATH"]}
    folder = data_folder(environ)
    clock, entropy = SystemClock(), SystemEntropy()
    folder.root.mkdir(parents=True, exist_ok=True)
    ledger = await SqliteLedger.open(folder.ledger, clock=clock, entropy=entropy)
    system = CrashingSystem(folder, CrashingLedger(ledger, fuse), clock, entropy, environ)
    system.fuse = fuse
    settings = Settings(auto_approve=True, tests=False)
    known = await system.runs.list()
    if resume and known:
        run = known[-1]
    else:
        parsed = parse_objective(objective)
        run = await system.request(objective, parsed.call, repository, settings, include_uncommitted=True)
    state = await system.drive(run)
    await ledger.aclose()
    sys.stdout.write(f"{state.phase} {fuse.crossed}\n")


if __name__ == "__main__":
    home, repository, objective, limit = sys.argv[1:5]
    asyncio.run(main(Path(home), Path(repository), objective, Fuse(int(limit)), "resume" in sys.argv[5:]))
