"""A pytest plugin that writes the outcome of every test, and where a failure went through the project, as JSON lines.

Self-contained: copied alone into a folder and loaded by `-p cavalcade_report` under the project's own interpreter (Python 3.8 and
pytest 6 or newer). It writes to the file that the environment variable CAVALCADE_REPORT names. One line per test:

    {"id": node id, "outcome": passed|failed|skipped|xfailed|xpassed|error, "failures": [...]}

A collector that fails has an `error` line of its own. A line {"running": node id} stands before each test, so that a test which
takes the process down is known. Each failure has `type`, `message` and `trace`, the frames inside the project as [path, line],
outermost first; exceptions that led to another follow it.
"""

import json
import os
import typing

import pytest

VARIABLE = "CAVALCADE_REPORT"
_MOST_FAILURES = 5
_MOST_FRAMES = 40
_MOST_TEXT = 2000

Json = typing.Dict[str, typing.Any]  # noqa: UP006 - Python 3.8
Hook = typing.Generator[None, typing.Any, None]


class Report:
    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by pytest_unconfigure
        self._phases: typing.Dict[str, typing.List[typing.Any]] = {}  # noqa: UP006

    def _write(self, line: Json) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"running": nodeid})

    def pytest_runtest_logreport(self, report: typing.Any) -> None:
        self._phases.setdefault(report.nodeid, []).append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._finish(nodeid)

    def pytest_collectreport(self, report: typing.Any) -> None:
        if report.failed:
            self._write({"id": report.nodeid, "outcome": "error", "failures": getattr(report, "cavalcade", [])})
        elif report.skipped and report.nodeid:
            self._write({"id": report.nodeid, "outcome": "skipped", "failures": []})

    def pytest_unconfigure(self) -> None:
        for nodeid in list(self._phases):
            self._finish(nodeid)
        self._file.close()

    def _finish(self, nodeid: str) -> None:
        reports = self._phases.pop(nodeid, None)
        if reports:
            failures = [failure for report in reports for failure in getattr(report, "cavalcade", [])]
            self._write({"id": nodeid, "outcome": outcome_of(reports), "failures": failures})


class Trace:
    """Attaches to reports where an exception went through the project; on a worker of pytest-xdist they travel with the report."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root) + os.sep

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: typing.Any) -> Hook:
        result = yield
        self._attach(result.get_result(), call.excinfo)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self) -> Hook:
        result = yield
        report = result.get_result()
        self._attach(report, getattr(getattr(report, "call", None), "excinfo", None))

    def _attach(self, report: typing.Any, excinfo: typing.Any) -> None:
        if report.failed and excinfo is not None:
            errors = chain(excinfo.value)
            # pytest's own word for "could not be imported" says nothing that its cause doesn't.
            told = errors[1:] if len(errors) > 1 and type(errors[0]).__name__ == "CollectError" else errors
            report.cavalcade = [self._describe(error) for error in told]

    def _describe(self, error: BaseException) -> Json:
        places: typing.List[typing.Tuple[str, int]] = []  # noqa: UP006
        step = error.__traceback__
        while step is not None:
            places.append((step.tb_frame.f_code.co_filename, step.tb_lineno or 1))
            step = step.tb_next
        if isinstance(error, SyntaxError):
            places.append((error.filename or "", error.lineno or 1))
        frames = [[path, line] for path, line in ((self._inside(name), line) for name, line in places) if path]
        return {"type": type(error).__name__, "message": text_of(error), "trace": frames[-_MOST_FRAMES:]}

    def _inside(self, name: str) -> str:
        """The path within the project; empty for files elsewhere and for generated code."""
        path = os.path.realpath(name)
        return path[len(self._root) :] if path.startswith(self._root) and os.path.isfile(path) else ""


def text_of(error: BaseException) -> str:
    """What an exception says of itself, without letting a broken `__str__` break the report."""
    try:
        return str(error)[:_MOST_TEXT]
    except Exception:  # noqa: BLE001 - the project's code; any error of it means the same
        return ""


def chain(error: typing.Optional[BaseException]) -> typing.List[BaseException]:  # noqa: UP006, UP045
    """The exception and those that led to it, latest first."""
    found: typing.List[BaseException] = []  # noqa: UP006
    while error is not None and error not in found and len(found) < _MOST_FAILURES:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def outcome_of(reports: typing.List[typing.Any]) -> str:  # noqa: UP006
    """One word for the phases of a test: set-up, call, tear-down."""
    call = [report for report in reports if report.when == "call"]
    if any(report.failed and report.when != "call" for report in reports):
        return "error"
    if any(report.failed for report in call):
        return "failed"
    if any(hasattr(report, "wasxfail") for report in reports):
        return "xpassed" if call and call[-1].passed else "xfailed"
    if any(report.skipped for report in reports):
        return "skipped"
    return "passed" if call else "error"


def pytest_configure(config: typing.Any) -> None:
    root = os.getcwd()
    config.pluginmanager.register(Trace(root), "cavalcade-trace")
    # Workers of pytest-xdist hand their reports to the process that started them, which writes.
    path = os.environ.pop(VARIABLE, None)
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Report(path), "cavalcade-report")
