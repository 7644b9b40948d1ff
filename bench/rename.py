"""A whole run of a rename on django's source, against the bare resolver doing the same rename.

Both start as a new process on a fresh copy. The run imports the repository, plans, passes every edit through the gates, records
everything, publishes a branch; tests are left out on both sides. Run alone: `python -m bench.rename`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Row

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / ".cache" / "acceptance" / "src" / "django"
ROUNDS = 5
TARGET = 1.5
FILE, OLD, NEW = "django/utils/timezone.py", "make_aware", "become_aware"


def run() -> list[Row]:
    """Medians of alternating rounds. Fetches django's source distribution when it isn't in the cache."""
    prepare = [sys.executable, str(ROOT / "tests" / "acceptance" / "repositories.py"), "django"]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="cavalcade-bench-") as folder:
            bare.append(_bare(Path(folder)))
            ours.append(_ours(Path(folder)))
    ratio = statistics.median(ours) / statistics.median(bare)
    return [
        Row(
            "rename on django, whole run without tests / bare ty server",
            f"{statistics.median(ours):.2f} s",
            f"{statistics.median(bare):.2f} s",
            ratio,
            f"<= {TARGET}",
            ratio <= TARGET,
        )
    ]


def _bare(folder: Path) -> float:
    copy = shutil.copytree(SOURCE, folder / "bare", symlinks=True)
    command = [sys.executable, "-m", "bench._bare_rename", str(copy), FILE, OLD, NEW]
    seconds, output = _timed(command, folder)
    assert int(output) > 1
    return seconds


def _ours(folder: Path) -> float:
    copy = shutil.copytree(SOURCE, folder / "ours", symlinks=True)
    objective = f"rename django.utils.timezone:{OLD} to {NEW}"
    command = [
        sys.executable,
        "-m",
        "cavalcade",
        "run",
        objective,
        "--repo",
        str(copy),
        "--yes",
        "--no-tests",
        "--json",
    ]
    seconds, _ = _timed(command, folder)
    return seconds


def _timed(command: list[str], folder: Path) -> tuple[float, str]:
    environ = {**os.environ, "CAVALCADE_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    os.sync()
    started = time.perf_counter()
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, done.stdout


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
