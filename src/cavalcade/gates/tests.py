"""The tests gate: a project's own test suite, in the sandbox, compared test by test with what passed before.

A suite is run by pytest with a small plugin that reports each test by its id, so that a test which failed before may go on
failing and one that passed may not. A command of the person's own is judged by its exit status alone.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cavalcade.kernel.canonical import digest_of
from cavalcade.protocol.plan import TestPlan
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.port import RESULTS, WORK, Command, Hit, Limits, Result, Sandbox
from cavalcade.sandbox.scratch import discard

PLUGIN = "cavalcade_report"
_PLUGIN_SOURCE = Path(__file__).with_name("pytest_report.py")
"""Read, never imported: it needs pytest, which only the project's own environment has."""
REPORT_VARIABLE = "CAVALCADE_REPORT"
"""As in the plugin."""
COMMAND_ID = "command"
"""The one test id of a command of the person's own."""

_TAIL_BYTES = 8000
_MOST_MESSAGE = 500
_MOST_REPORT_BYTES = 512 << 20
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_FINISHED = (0, 1, 5)  # pytest: all passed, some failed, none selected; others say that it did not get through
_NOTHING_SELECTED = 5
_WORST_FIRST = ("error", "failed", "xpassed", "xfailed", "skipped", "passed")


@dataclass(frozen=True)
class Failure:
    """The exception that ended a test or a collection.

    `trace` are (path, line) inside the project, outermost first; frames of exceptions that led to this one (`causes`, nearest
    first) come before its own.
    """

    type: str
    message: str
    trace: tuple[tuple[str, int], ...] = ()
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TestRun:
    """What a suite did. `outcomes` by test id: passed, failed, error, skipped, xfailed, xpassed.

    `failures` has an entry for each test and each collector that an exception ended. `unfinished` began and never ended: what a
    crash or a limit interrupted. `exit_code` is None when a signal or a limit (`hit`) ended the suite. `tail` is the end of what it
    printed.
    """

    __test__ = False

    outcomes: dict[str, str]
    failures: dict[str, Failure]
    unfinished: tuple[str, ...]
    exit_code: int | None
    hit: Hit
    duration_s: float
    tail: str

    @property
    def finished(self) -> bool:
        """Whether every selected test had its turn."""
        return self.exit_code in _FINISHED

    def passed(self) -> frozenset[str]:
        return frozenset(test for test, outcome in self.outcomes.items() if outcome == "passed")

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(self.outcomes.values()).items()))

    def digest(self) -> str:
        """Of the outcome of each test id, never of durations or texts."""
        return digest_of([self.outcomes, list(self.unfinished), self.exit_code, self.hit])


@dataclass(frozen=True)
class Comparison:
    """By the ids of the run after. `lost` passed before and don't now; `gained` were there before without passing, and pass."""

    lost: tuple[str, ...]
    gained: tuple[str, ...]


@dataclass(frozen=True)
class FailurePlace:
    """A line of the project where tests end, and why. `line` 0: the file as a whole. `trace` and `causes` as in `Failure`."""

    path: str
    line: int
    type: str
    message: str
    trace: tuple[tuple[str, int], ...]
    causes: tuple[str, ...]
    tests: tuple[str, ...]

    def __str__(self) -> str:
        reason = f"{self.type}: {self.message}" if self.type else self.message
        return f"{self.path}:{self.line}: {reason.partition(chr(10))[0]}"


async def run_tests(
    sandbox: Sandbox,
    workspace: Path,
    plan: TestPlan,
    limits: Limits,
    env: Mapping[str, str],
    *,
    home: Path,
) -> TestRun:
    """Runs the plan's suite on `workspace`, a scratch copy of the tree that the sandbox may take over.

    `env` is added to the environment of the tests; `home` is the person's home folder, never shown inside. Selected files that this
    tree doesn't have are left out; with none left nothing is run. `plan.refused` must be empty. Raises SandboxUnavailable, UsageError
    (no such interpreter or folder).
    """
    selection = _present(workspace, plan.selection)
    if plan.selection and not selection:
        return TestRun({}, {}, (), _NOTHING_SELECTED, "", 0.0, "none of the selected test files is in this tree")
    readable = interpreter_roots(Path(plan.python), home=home) if plan.python else ()
    with _report_folders() as (plugins, results):
        report = {REPORT_VARIABLE: str(RESULTS / "report")}
        command = Command(
            argv=(*plan.command, *selection),
            workspace=workspace,
            env=suite_environment(plan, (str(plugins),)) | report | dict(env),
            readable=(*readable, plugins),
            results=results,
        )
        result = await sandbox.run(command, limits)
        return _test_run(plan, result, _read_report(results / "report"))


def _present(workspace: Path, selection: tuple[str, ...]) -> list[str]:
    return [test for test in selection if os.path.lexists(workspace / test.partition("::")[0])]


def suite_environment(plan: TestPlan, first_on_path: tuple[str, ...] = ()) -> dict[str, str]:
    """The same for every run of a plan: a fixed hash seed keeps the ids of tests parametrised over sets the same."""
    folders = [*first_on_path, *(str(WORK / folder) for folder in plan.pythonpath)]
    env = {
        "PATH": _SYSTEM_PATH,
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
    }
    if plan.python:
        env["PATH"] = f"{Path(plan.python).parent}{os.pathsep}{_SYSTEM_PATH}"
    return env


def compare(before: TestRun, after: TestRun, renamed_ids: Mapping[str, str]) -> Comparison:
    """`renamed_ids` maps the beginning of an id (a test file, a class or function in it) to what it is called now."""
    was = {renamed(test, renamed_ids): outcome for test, outcome in before.outcomes.items()}
    passes = after.passed()
    lost = sorted(test for test, outcome in was.items() if outcome == "passed" and test not in passes)
    gained = sorted(test for test in passes if was.get(test, "passed") != "passed")
    return Comparison(tuple(lost), tuple(gained))


def renamed(test: str, renamed_ids: Mapping[str, str]) -> str:
    """The longest beginning that ends where a part of the id ends wins."""
    fitting = [
        old for old in renamed_ids if test.startswith(old) and test[len(old) : len(old) + 1] in ("", ":", "[", "/")
    ]
    if not fitting:
        return test
    longest = max(fitting, key=len)
    return renamed_ids[longest] + test[len(longest) :]


def failure_places(run: TestRun, lost: Iterable[str]) -> tuple[FailurePlace, ...]:
    """Where and why tests were lost, the place with most of them first.

    A test that is missing is explained by the error of what should have collected it, by the limit or crash that interrupted the
    suite, or by what pytest printed when it could not start.
    """
    tests: dict[tuple[str, int, str, str], list[str]] = {}
    failures: dict[tuple[str, int, str, str], Failure] = {}
    for test in lost:
        failure = _explain(run, test)
        path, line = failure.trace[-1] if failure.trace else (test.partition("::")[0], 0)
        key = (path, line, failure.type, failure.message)
        tests.setdefault(key, []).append(test)
        failures.setdefault(key, failure)
    ordered = sorted(tests, key=lambda key: (-len(tests[key]), key))
    return tuple(
        FailurePlace(*key, trace=failures[key].trace, causes=failures[key].causes, tests=tuple(tests[key]))
        for key in ordered
    )


def _explain(run: TestRun, test: str) -> Failure:
    own = next((run.failures[name] for name in (test, *_above(test)) if name in run.failures), None)
    if own is not None:
        return own
    if test in run.outcomes:
        return Failure("", f"the test is {run.outcomes[test]} now")
    if run.hit or run.unfinished:
        what = f"the {run.hit} limit was hit" if run.hit else "the process ended"
        name = next(iter(run.unfinished), "")
        trace = ((name.partition("::")[0], 0),) if name else ()
        return Failure("", f"{what} in {name}" if name else what, trace)
    if not run.finished:
        return _printed_failure(run.tail)
    return Failure("", "the test is not there any more")


def _above(test: str) -> list[str]:
    """The collectors a test lies in, nearest first."""
    path, *names = test.split("[", 1)[0].split("::")
    found = ["::".join([path, *names[:count]]) for count in range(len(names) - 1, -1, -1)]
    return [*found, *(str(parent) for parent in Path(path).parents), ""]


_PRINTED_PLACE = re.compile(
    r"""^(?:E\s+)?(?:\s*File "(?P<file>[^"]+)", line (?P<at>\d+)|(?P<path>[^\s:"]+\.py):(?P<line>\d+):)""", re.M
)
_PRINTED_ERROR = re.compile(r"^(?:E\s+)?([A-Za-z_][\w.]*(?:Error|Exception|Warning)): ?(.*)$", re.M)


def _printed_failure(tail: str) -> Failure:
    """From what pytest prints when it can't start: a broken `conftest.py`, a plugin that doesn't import."""
    trace: list[tuple[str, int]] = []
    for place in _PRINTED_PLACE.finditer(tail):
        path = (place["file"] or place["path"]).removeprefix(f"{WORK}/")
        if not os.path.isabs(path):
            trace.append((path, int(place["at"] or place["line"])))
    errors: list[tuple[str, str]] = _PRINTED_ERROR.findall(tail)
    kind, message = errors[-1] if errors else ("", tail.strip()[-_MOST_MESSAGE:] or "the suite could not start")
    return Failure(kind, message, tuple(trace))


@contextmanager
def _report_folders() -> Generator[tuple[Path, Path]]:
    """A folder that holds nothing but the plugin, and one for what it writes."""
    scratch = Path(tempfile.mkdtemp(prefix="cavalcade-tests-"))
    try:
        plugins, results = scratch / "plugin", scratch / "results"
        plugins.mkdir()
        results.mkdir()
        (plugins / f"{PLUGIN}.py").write_bytes(_PLUGIN_SOURCE.read_bytes())
        (plugins / f"{PLUGIN}.py").chmod(0o644)
        plugins.chmod(0o755)
        yield plugins, results
    finally:
        discard(scratch)


class _Exception(msgspec.Struct):
    type: str = ""
    message: str = ""
    trace: list[tuple[str, int]] = []


class _Line(msgspec.Struct):
    id: str = ""
    outcome: str = ""
    running: str = ""
    failures: list[_Exception] = []


def _read_report(path: Path) -> list[_Line]:
    """The guest wrote it: no link is followed, and a line that is not one of ours (cut off by a kill) is left out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return []
    lines: list[_Line] = []
    with open(descriptor, "rb") as file:
        for text in file.read(_MOST_REPORT_BYTES).splitlines():
            try:
                lines.append(msgspec.json.decode(text, type=_Line))
            except msgspec.DecodeError:
                continue
    return lines


def _test_run(plan: TestPlan, result: Result, lines: list[_Line]) -> TestRun:
    outcomes: dict[str, str] = {}
    failures: dict[str, Failure] = {}
    running: dict[str, None] = {}
    for line in lines:
        if line.running:
            running[stable_id(line.running)] = None
            continue
        test = stable_id(line.id)
        running.pop(test, None)
        outcomes[test] = _worse(outcomes.get(test, "passed"), line.outcome)
        if line.failures:
            failures[test] = _failure(line.failures)
    if PLUGIN not in plan.command:
        outcomes = {COMMAND_ID: "passed" if result.exit_code == 0 else "failed"}
    return TestRun(
        outcomes=outcomes,
        failures=failures,
        unfinished=tuple(running),
        exit_code=result.exit_code,
        hit=result.hit,
        duration_s=result.duration_s,
        tail=(result.stdout[-_TAIL_BYTES:] + result.stderr[-_TAIL_BYTES:]).decode(errors="replace"),
    )


def _failure(chain: list[_Exception]) -> Failure:
    first = chain[0]
    causes = tuple(f"{error.type}: {error.message}"[:_MOST_MESSAGE] for error in chain[1:])
    trace = tuple(frame for error in reversed(chain) for frame in error.trace)
    return Failure(first.type, first.message[:_MOST_MESSAGE], trace, causes)


def stable_id(test: str) -> str:
    """An id without the addresses that pytest puts into it for objects without a name."""
    return _ADDRESS.sub("0x", test)


def _worse(one: str, other: str) -> str:
    """A test that runs more than once under the same id counts by its worst outcome."""
    return min(one, other, key=lambda outcome: _WORST_FIRST.index(outcome) if outcome in _WORST_FIRST else 0)
