"""A collector that speaks OTLP over HTTP on the loopback: keeps the spans that it accepts, and refuses or hangs when told to.

Needs what the extra `otel` brings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

OK = 200


class Collector:
    """`answer` gives the status for the n-th request, from 1. `spans` are protobuf messages; `hanging` requests get no answer."""

    def __init__(self, answer: Callable[[int], int] = lambda _number: OK, *, hangs: bool = False) -> None:
        self.spans: list[Any] = []
        self.resources: list[Any] = []
        self.requests = 0
        self.asked = threading.Event()
        self._release = threading.Event()
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector._take(self.path, body, answer)
                collector.asked.set()
                if hangs:
                    collector._release.wait()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                del format, args  # the terminal stays clean

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, path: str, body: bytes, answer: Callable[[int], int]) -> int:
        with self._lock:
            self.requests += 1
            status = answer(self.requests) if path == "/v1/traces" else 404
            if status == OK:
                request: Any = ExportTraceServiceRequest.FromString(body)
                for of_resource in request.resource_spans:
                    self.resources.append(of_resource.resource)
                    for of_scope in of_resource.scope_spans:
                        self.spans += of_scope.spans
            return status
