"""Stops of jobs that resist, one after the other: `stop_soak.py [--stops N] [--seed S] [--json]`.

Each job beats: it writes the time to files in its workspace, from as many processes as it likes, some of which ignore signals, left their
parent, their session and their terminal, or are stopped. It is stopped in one of three ways, as `WAYS` says. After the stop was
acknowledged nothing of it may beat, and no process may carry its mark.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from cavalcade.cli.stopping import Ending, end_run, mark_of
from cavalcade.config.paths import DataFolder, data_folder
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.ids import RunId
from cavalcade.sandbox.bubblewrap import Bubblewrap, find_tools
from cavalcade.sandbox.port import Command, Limits
from cavalcade.sandbox.scratch import discard

DRIVER = Path(__file__).with_name("stuck_driver.py")
LIMIT_S = 1.0
"""From a stop to the last side effect."""

_BEAT = 'beat() { while :; do date +%s.%N >> "beat-$1" 2>/dev/null; sleep 0.01; done; }; '
SCRIPTS = {
    "ignores every signal it can": 'trap "" TERM INT HUP QUIT USR1 USR2 PIPE ALRM TSTP; beat one',
    "forks": "for n in 1 2 3 4 5; do beat $n & done; beat main",
    "forks all the time": 'while :; do (date +%s.%N >> "beat-$(date +%N | cut -c1)"; sleep 0.2) & sleep 0.02; done',
    "left its parent twice": '( ( trap "" TERM HUP; beat orphan ) & ) ; ( ( beat other ) & ); sleep 1000',
    "left its session": 'setsid sh -c "$BEAT beat session" & beat main',
    "double fork, setsid, nohup": '( setsid nohup sh -c "$BEAT beat daemon" </dev/null >/dev/null 2>&1 & ); beat main',
    "its first process has ended": '( setsid nohup sh -c "$BEAT beat daemon" </dev/null >/dev/null 2>&1 & ); sleep 0.1; kill -9 $$',
    "stopped children": "beat one & beat two & kill -STOP $!; beat main",
    "stops itself": '( sleep 0.15; kill -STOP $$ ) & trap "" TERM; beat main',
    "starts again what is killed": 'trap "" TERM; while :; do setsid sh -c "$BEAT beat child" & wait $!; done',
}


class Stopped(NamedTuple):
    """`acknowledged_s` and `last_s`: seconds from the stop to its acknowledgement and to the last side effect; below 0: before it."""

    script: str
    way: str
    acknowledged_s: float
    last_s: float
    late: int
    left: tuple[int, ...]

    @property
    def well(self) -> bool:
        return not self.late and not self.left and self.last_s <= LIMIT_S


class Arena:
    """Where jobs run and are stopped."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self._data: DataFolder = data_folder({"CAVALCADE_HOME": str(folder / "home")})
        self._clock = SystemClock()
        self._sandbox = Bubblewrap(find_tools(os.environ["PATH"]), self._clock)

    async def stop_one(self, way: str | None = None, script: str | None = None) -> Stopped:
        way = way or self.chance.choices(list(WAYS), weights=[5, 5, 1])[0]
        script = script or self.chance.choice(list(SCRIPTS))
        if way != "recorded program" and script == "its first process has ended":
            script = "left its parent twice"  # in a sandbox everything ends with the first process
        workspace = Path(tempfile.mkdtemp(dir=self.folder))
        run, mark = RunId(f"r{uuid.uuid4().hex[:12]}"), f"STOP_MARK={uuid.uuid4().hex}"
        try:
            begun, ended = await WAYS[way](self, run, workspace, mark, f"{_BEAT}{SCRIPTS[script]}")
            last, late = _beats(workspace, ended)
            await asyncio.sleep(0.05)
            late += _beats(workspace, ended)[1] - late
            return Stopped(script, way, ended - begun, last - begun, late, tuple(_marked(mark)))
        finally:
            discard(workspace)

    async def in_sandbox(self, run: RunId, workspace: Path, mark: str, script: str) -> tuple[float, float]:
        """The driver hears of the stop and cancels the job."""
        del run
        name, _, value = mark.partition("=")
        command = Command(argv=("/bin/sh", "-c", script), workspace=workspace, env={name: value, "BEAT": _BEAT})
        job = asyncio.create_task(self._sandbox.run(command, Limits()))
        await self._under_way(workspace)
        begun = time.time()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        return begun, time.time()

    async def recorded(self, run: RunId, workspace: Path, mark: str, script: str) -> tuple[float, float]:
        """A program without a sandbox whose recorder is gone: it is found by its mark."""
        name, _, value = mark.partition("=")
        marks = {name: value, "BEAT": _BEAT, "CAVALCADE_RUN": mark_of(run).partition("=")[2]}
        program = subprocess.Popen(  # noqa: ASYNC220
            ["/bin/sh", "-c", script],
            cwd=workspace,
            env={"PATH": os.environ["PATH"], **marks},
            stdin=subprocess.DEVNULL,
        )
        await self._under_way(workspace)
        begun = time.time()
        await self._end(run)
        ended = time.time()
        program.wait()
        return begun, ended

    async def stuck(self, run: RunId, workspace: Path, mark: str, script: str) -> tuple[float, float]:
        """The process that drives the run does not answer: it is killed with all it has."""
        how = self.chance.choice(["busy", "stopped"])
        home = str(self._data.root)
        command = [sys.executable, str(DRIVER), home, run, str(workspace), mark, script, how]
        driver = subprocess.Popen(  # noqa: ASYNC220
            command, stdin=subprocess.DEVNULL, env={**os.environ, "BEAT": _BEAT}
        )
        await self._under_way(workspace)
        begun = time.time()
        ending = await self._end(run)
        ended = time.time()
        if driver.wait() != -9 or ending.how != "killed":
            raise AssertionError(f"the stuck driver ended by {driver.returncode}, not by being killed: {ending}")
        return begun, ended

    async def _end(self, run: RunId) -> Ending:
        return await end_run(self._data, run, self._clock)

    async def _under_way(self, workspace: Path) -> None:
        """Until it beats, and for a random moment more. Raises TimeoutError."""
        async with asyncio.timeout(30):
            while not _beating(workspace):  # noqa: ASYNC110 - a guest writes files and tells nobody
                await asyncio.sleep(0.01)
        await asyncio.sleep(self.chance.uniform(0.05, 0.25))


_Way = Callable[[Arena, RunId, Path, str, str], Awaitable[tuple[float, float]]]
WAYS: dict[str, _Way] = {
    "sandboxed job": Arena.in_sandbox,
    "recorded program": Arena.recorded,
    "stuck driver": Arena.stuck,
}


def _beating(workspace: Path) -> bool:
    return any(path.stat().st_size for path in workspace.glob("beat-*"))


def _beats(workspace: Path, after: float) -> tuple[float, int]:
    """The time of the last beat, and how many there are after a moment."""
    times: list[float] = []
    for path in workspace.glob("beat-*"):
        times += [float(line) for line in path.read_text(encoding="ascii").split("\n")[:-1]]
    return max(times), sum(time > after for time in times)


def _marked(mark: str) -> list[int]:
    found: list[int] = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if mark.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            continue
    return found


async def soak(stops: int, seed: int) -> list[Stopped]:
    with tempfile.TemporaryDirectory(prefix="stop-soak-") as folder:
        arena = Arena(Path(folder), seed)
        done: list[Stopped] = []
        for number in range(stops):
            done.append(await arena.stop_one())
            if number % 100 == 99:
                sys.stderr.write(f"{number + 1} stops\n")
        return done


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> int:
    parser = argparse.ArgumentParser(description="Stops of jobs that resist.")
    parser.add_argument("--stops", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    done = asyncio.run(soak(chosen.stops, chosen.seed))
    last = [max(one.last_s, 0.0) for one in done]
    bad = [one._asdict() for one in done if not one.well]
    figures = {
        "stops": len(done), "seed": chosen.seed, "p50_s": percentile(last, 0.5), "p99_s": percentile(last, 0.99), "max_s": max(last),
        "acknowledged_p99_s": percentile([one.acknowledged_s for one in done], 0.99), "bad": bad,
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
