"""Peers to compare with, each in a process of its own with libraries of its own (`make bench` installs them)."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".cache" / "bench" / "venv" / "bin" / "python"


def figure(script: str, *arguments: object) -> float:
    """The one number that a script of `bench/peers` prints."""
    if not PYTHON.exists():
        raise SystemExit("the peers are not installed; make bench ARGS=... does that first")
    command = [str(PYTHON), str(ROOT / "bench" / "peers" / script), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(done.stdout)
