"""Stops of jobs that resist: how long after a stop the last side effect comes, and that nothing is left. The jobs are those of the soak."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.table import Row

SOAK = Path(__file__).parents[1] / "tests" / "faults" / "stop_soak.py"
STOPS = 200
LIMIT_S = 1.0


def run() -> list[Row]:
    done = subprocess.run(
        [sys.executable, str(SOAK), "--stops", str(STOPS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    figures = json.loads(done.stdout)
    told = f"p50 {figures['p50_s'] * 1000:.0f} ms, p99 {figures['p99_s'] * 1000:.0f} ms"
    return [
        Row(
            f"stop: last side effect of {STOPS} jobs that resist ({told})",
            f"{figures['max_s'] * 1000:.0f} ms",
            f"limit {LIMIT_S * 1000:.0f} ms",
            figures["max_s"] / LIMIT_S,
            "<= 1",
            figures["max_s"] <= LIMIT_S,
        ),
        Row(
            f"stop: processes left, or side effects after the acknowledgement, in {STOPS} stops",
            str(len(figures["bad"])),
            "0",
            float(len(figures["bad"])),
            "0",
            not figures["bad"],
        ),
    ]
