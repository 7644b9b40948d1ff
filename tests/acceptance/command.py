"""The installed `cavalcade` command, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repositories import AUTHOR


@dataclass(frozen=True)
class Said:
    """What the command wrote and how it ended."""

    status: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """Standard output as the JSON that `--json` promises."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"exit status {self.status}\n{self.out[-6000:]}\n{self.err[-6000:]}"


@dataclass(frozen=True)
class Cavalcade:
    """`home` is the data, cache and home folder: nothing of the machine's own is used."""

    command: Path
    home: Path

    def __call__(self, *arguments: str, cwd: Path | None = None, timeout_s: float = 900) -> Said:
        self.home.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [str(self.command), *arguments],
            cwd=cwd,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "CAVALCADE_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "NO_COLOR": "1",
            **{name: value for name, value in AUTHOR.items() if name.startswith("GIT_CONFIG")},
        }
