"""What is recorded also leaves by the channels that were asked for, and none of them changes a run, however its other end behaves.

A run is compared by what it recorded: the same events in the same order with a channel that hangs as with none.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from projects import OBJECTIVE, Project, Said, a_project

from cavalcade.testing.collector import OK, Collector


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def recorded(project: Project) -> list[dict[str, Any]]:
    """The last run as the record has it."""
    return [json.loads(line) for line in project("log", "last", "--json").out.splitlines()]


def types(project: Project) -> list[str]:
    return [one["event"]["type"] for one in recorded(project)]


def assert_same_as_without(project: Project, said: Said) -> None:
    """Another run of the same project with no channel on records the same."""
    assert said.status == 0, said
    with_channel = types(project)
    project.git("branch", "-D", *project.branches())
    assert project.run("--yes").status == 0
    assert types(project) == with_channel


def lines(text: str | bytes) -> list[dict[str, Any]]:
    assert text[-1:] in ("\n", b"\n")
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def a_pipe() -> Generator[tuple[int, int]]:
    """Reading and writing end; the latter as it is when a shell hands it over."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        yield reading, writing
    finally:
        for end in (reading, writing):
            os.close(end)


def test_a_line_holds_the_event_and_its_place_as_cloudevents_wants_it(project: Project, tmp_path: Path) -> None:
    said = project.run("--yes", "--events-file", str(tmp_path / "events"))
    assert said.status == 0, said
    got = lines((tmp_path / "events").read_bytes())
    for line, one in zip(got, recorded(project), strict=True):
        event = one.pop("event")
        assert line["specversion"] == "1.0"
        assert {name: line[name] for name in one} == one
        assert {name: line[name] for name in event} == event
        assert "" not in line.values()
        assert len(line["traceid"]) == 32
        assert len(line["spanid"]) == 16
    assert (tmp_path / "events").stat().st_mode & 0o777 == 0o600


def test_the_terminal_stays_clean(project: Project, tmp_path: Path) -> None:
    with a_pipe() as (_, writing):
        said = project.run("--yes", "--json", "--events-fd", str(writing), "--otlp-file", str(tmp_path / "spans"))
    assert said.data["phase"] == "completed"
    assert "specversion" not in said.err


def test_a_descriptor_gets_every_event_while_the_command_runs(project: Project, tmp_path: Path) -> None:
    said = project.process(
        "run", OBJECTIVE, "--repo", str(project.folder), "--no-tests", "--yes", "--events-fd", "3",
        before=("bash", "-c", f'exec "$@" 3> {tmp_path}/events', "bash"),
    )  # fmt: skip
    assert said.status == 0, said
    assert [line["id"] for line in lines((tmp_path / "events").read_bytes())] == [
        one["event"]["id"] for one in recorded(project)
    ]


def test_a_descriptor_that_nobody_asked_for_is_not_written_to(project: Project, tmp_path: Path) -> None:
    said = project.process(
        "run", OBJECTIVE, "--repo", str(project.folder), "--no-tests", "--yes",
        before=("bash", "-c", f'exec "$@" 3> {tmp_path}/other', "bash"),
    )  # fmt: skip
    assert said.status == 0, said
    assert (tmp_path / "other").read_bytes() == b""


def test_a_descriptor_that_was_not_handed_over_is_refused(project: Project, tmp_path: Path) -> None:
    own = os.open(tmp_path / "database", os.O_RDWR | os.O_CREAT)
    reading = os.open(tmp_path / "database", os.O_RDONLY)
    os.set_inheritable(reading, True)
    for number, why in ((own, "was not handed"), (reading, "can only be read"), (999, "not open"), (1, "terminal")):
        said = project.run("--yes", "--events-fd", str(number))
        assert said.status == 2, said
        assert why in said.err
        assert "events.jsonl" in said.err
    os.close(own)
    os.close(reading)
    assert (tmp_path / "database").read_bytes() == b""
    assert project("runs", "--all", "--json").data == []


def test_a_reader_that_never_reads_changes_nothing_and_the_rest_is_named(project: Project) -> None:
    with a_pipe() as (reading, writing):
        room = 2 * select.PIPE_BUF
        os.set_blocking(writing, False)
        while select.select([], [writing], [], 0)[1]:
            os.write(writing, bytes(select.PIPE_BUF))
        os.set_blocking(writing, True)
        os.read(reading, room)  # for a few events, not for all
        said = project.run("--yes", "--events-fd", str(writing), "--events-wait", "0")
        assert "not delivered (positions" in said.err
        assert "nobody takes them" in said.err
        assert_same_as_without(project, said)


def test_a_reader_that_dies_changes_nothing(project: Project) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    os.close(reading)
    said = project.run("--yes", "--events-fd", str(writing))
    os.close(writing)
    assert "its reader has gone" in said.err
    assert_same_as_without(project, said)


def test_a_reader_that_dies_kills_no_process_either(project: Project) -> None:
    said = project.process(
        "run", OBJECTIVE, "--repo", str(project.folder), "--no-tests", "--yes", "--events-fd", "3",
        before=("bash", "-c", 'exec "$@" 3> >(exec true)', "bash"),
    )  # fmt: skip
    assert said.status == 0, said


def test_a_full_disk_behind_a_descriptor_changes_nothing(project: Project) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    os.set_inheritable(full, True)
    said = project.run("--yes", "--events-fd", str(full))
    os.close(full)
    assert "No space left on device" in said.err
    assert_same_as_without(project, said)


def test_a_file_goes_on_from_command_to_command(project: Project, tmp_path: Path) -> None:
    channel = ("--events-file", str(tmp_path / "events"))
    assert project.run(*channel).status == 3
    assert project("log", "last", *channel).status == 0
    assert project("approve", "last", *channel).status == 0
    got = lines((tmp_path / "events").read_bytes())
    assert [line["hash"] for line in got] == [one["hash"] for one in recorded(project)]


def test_what_is_no_file_is_refused_and_stays_as_it_is(project: Project, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "no" / "events"):
        for flag in ("--events-file", "--otlp-file"):
            said = project.run("--yes", flag, str(path))
            assert (said.status, "hint:" in said.err) == (2, True), said
    (tmp_path / "text").write_text("mine")
    for path in (tmp_path / "text", tmp_path / "no" / "socket", tmp_path / ("s" * 120)):
        said = project.run("--yes", "--events-socket", str(path))
        assert (said.status, "hint:" in said.err) == (2, True), said
    assert (tmp_path / "text").read_text() == "mine"


def test_flags_stand_before_or_behind_a_command_and_their_variables_do_the_same(
    project: Project, tmp_path: Path
) -> None:
    path = str(tmp_path / "events")
    repo = ("--repo", str(project.folder), "--no-tests")
    assert project("--events-file", path, "run", OBJECTIVE, *repo).status == 3
    assert project("run", OBJECTIVE, *repo, f"--events-file={path}").status == 3
    assert project("run", OBJECTIVE, *repo, CAVALCADE_EVENTS_FILE=path).status == 3
    assert len({line["run"] for line in lines(Path(path).read_bytes())}) == 3
    said = project("run", OBJECTIVE, *repo, CAVALCADE_EVENTS_WAIT="long")
    assert (said.status, "CAVALCADE_EVENTS_WAIT=long" in said.err) == (2, True)


class Reader:
    """Connects as soon as somebody listens and takes every line; `until` ends it after the line of that type."""

    def __init__(self, path: Path, until: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._path, self._until = path, until
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        pause = threading.Event()
        with socket.socket(socket.AF_UNIX) as connection:
            while connection.connect_ex(str(self._path)):
                pause.wait(0.005)
            with connection.makefile("rb") as file:
                for line in file:
                    self.lines.append(json.loads(line))
                    if self.lines[-1]["type"] == self._until:
                        return

    def finished(self) -> list[dict[str, Any]]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.lines


def test_what_nobody_read_waits_for_the_next_reader_in_order(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert project.run("--events-socket", str(path)).status == 3
    assert project("inject", "last", "mentions docs", "--events-socket", str(path)).status == 3
    waiting = [json.loads(line)["id"] for line in (tmp_path / "s.wal").read_bytes().splitlines()[1:]]
    assert waiting == [one["event"]["id"] for one in recorded(project)]
    reader = Reader(path, "cavalcade.run.completed.v1")
    assert project("approve", "last", "--events-socket", str(path), "--events-wait", "30").status == 0
    assert [line["id"] for line in reader.finished()] == [one["event"]["id"] for one in recorded(project)]
    assert (tmp_path / "s.wal").stat().st_size == 128


def test_a_dead_command_s_socket_is_replaced_and_another_program_s_is_not(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        said = project.run("--events-socket", str(path))
        assert (said.status, "another program listens" in said.err) == (2, True), said
    assert path.is_socket()  # nobody answers there now
    assert project.run("--events-socket", str(path)).status == 3
    assert not path.exists()


def test_a_slow_reader_of_the_socket_changes_nothing(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "s"
    connected = socket.socket(socket.AF_UNIX)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    waits = threading.Thread(target=_connect, args=(connected, path), daemon=True)
    waits.start()
    said = project.run("--yes", "--events-socket", str(path), "--events-wait", "0")
    connected.close()
    assert_same_as_without(project, said)


def _connect(connection: socket.socket, path: Path) -> None:
    pause = threading.Event()
    while connection.fileno() >= 0 and connection.connect_ex(str(path)):
        pause.wait(0.002)


def test_spans_reach_a_collector(project: Project) -> None:
    with Collector() as collector:
        said = project.run("--yes", "--otlp", collector.address, "--events-wait", "30")
        assert said.status == 0, said
        spans: dict[str, Any] = {span.span_id.hex(): span for span in collector.spans}
    documents = project("trace", "last", "--json").data
    assert sorted(spans) == sorted(document["id"] for document in documents)
    for document in documents:
        sent = spans[document["id"]]
        assert (sent.trace_id.hex(), sent.parent_span_id.hex(), sent.name) == (
            document["trace"],
            document["parent"],
            document["name"],
        )
        assert (sent.end_time_unix_nano - sent.start_time_unix_nano) / 1e6 == pytest.approx(document["duration_ms"])
        assert {one.key for one in sent.attributes} == set(document["attributes"])
    named = {one.key: one.value.string_value for one in collector.resources[0].attributes}
    assert named["service.name"] == "cavalcade"


def test_a_run_in_several_commands_is_one_trace_and_no_span_is_sent_twice(project: Project, tmp_path: Path) -> None:
    with Collector() as collector:
        to = ("--otlp", collector.address, "--events-wait", "30")
        assert project.run(*to).status == 3
        assert project("approve", "last", *to).status == 0
    sent = [span.span_id.hex() for span in collector.spans]
    assert sorted(sent) == sorted(document["id"] for document in project("trace", "last", "--json").data)


@pytest.mark.parametrize("status", [500, 429, 400])
def test_a_collector_that_refuses_changes_nothing(project: Project, status: int) -> None:
    with Collector(lambda _number: status) as collector:
        said = project.run("--yes", "--otlp", collector.address, "--events-wait", "0.3")
    assert re.search(r"otlp: [0-9]+ events not delivered \(positions [0-9]+ to [0-9]+\)", said.err)
    assert "cavalcade trace r" in said.err
    assert_same_as_without(project, said)


def test_a_collector_that_recovers_gets_every_span(project: Project) -> None:
    with Collector(lambda number: 503 if number == 1 else OK) as collector:
        said = project.run("--yes", "--otlp", collector.address, "--events-wait", "60")
        assert said.status == 0, said
    assert len(collector.spans) == len(project("trace", "last", "--json").data)
    assert "otlp" not in said.err


def test_a_collector_that_hangs_or_is_not_there_changes_nothing(project: Project) -> None:
    with Collector(hangs=True) as collector:
        said = project.run("--yes", "--otlp", collector.address, "--events-wait", "0.3")
        assert "otlp: " in said.err
        address = collector.address
    assert_same_as_without(project, said)
    said = project.run("--yes", "--otlp", address, "--events-wait", "0.3")
    assert said.status == 0, said
    assert "otlp: " in said.err


def test_without_the_extra_it_is_said_what_to_install(project: Project) -> None:
    without = "import sys; sys.modules['opentelemetry'] = None; from cavalcade.__main__ import main; main()"

    def command(**environ: str) -> subprocess.CompletedProcess[str]:
        words = ("run", OBJECTIVE, "--repo", str(project.folder), "--no-tests")
        environment = project.all_environ(environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            [sys.executable, "-c", without, *words], env=environment, capture_output=True, text=True, check=False
        )

    asked = command(CAVALCADE_OTLP="http://127.0.0.1:9")
    assert asked.returncode == 2
    assert "pip install 'cavalcade[otel]'" in asked.stderr
    # The standard variable is meant for a whole machine: it stops nothing.
    machine = command(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert machine.returncode == 3
    assert "pip install 'cavalcade[otel]'" in machine.stderr


def test_trace_shows_and_exports_a_run_that_is_over(project: Project, tmp_path: Path) -> None:
    assert project.run("--yes", "--otlp-file", str(tmp_path / "live")).status == 0
    said = project("trace", "last", "--export", str(tmp_path / "spans"))
    assert "█" in said.out
    assert "task t1" in said.out
    assert "gate" not in said.out
    assert "gate lint" in project("trace", "last", "--all").out
    assert sorted(_span_ids(tmp_path / "spans")) == sorted(_span_ids(tmp_path / "live"))
    again = project("trace", "last", "--export", str(tmp_path / "spans"))
    assert (again.status, "File exists" in again.err) == (2, True)


def _span_ids(path: Path) -> Iterator[str]:
    for line in lines(path.read_bytes()):
        for span in line["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            yield span["spanId"]


def test_trace_shows_a_run_that_waits_as_open(project: Project) -> None:
    assert project.run().status == 3
    said = project("trace", "last")
    assert "approval 1" in said.out
    assert "open" in said.out


def test_doctor_names_the_channels(project: Project, tmp_path: Path) -> None:
    def found(**environ: str) -> dict[str, Any]:
        (check,) = (
            check for check in project("doctor", "--json", **environ).data["checks"] if check["name"] == "side channels"
        )
        return check

    assert found()["found"] == "none asked for"
    assert found(CAVALCADE_EVENTS_FILE=str(tmp_path / "e"))["found"] == f"events-file {tmp_path / 'e'}"
    wrong = found(CAVALCADE_EVENTS_FD="999")
    assert (wrong["ok"], wrong["exit_status"]) == (False, 2)
