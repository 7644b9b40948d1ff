"""Spans as they end, to an OpenTelemetry collector (OTLP over HTTP) or into a file."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from cavalcade import __version__
from cavalcade.kernel.errors import UsageError
from cavalcade.protocol.envelope import Recorded
from cavalcade.telemetry.channel import SPANS_AGAIN
from cavalcade.telemetry.jsonfile import LinesOf
from cavalcade.telemetry.otlp_json import SERVICE, nanoseconds, otlp_line
from cavalcade.telemetry.spans import Span
from cavalcade.telemetry.tracing import Trace

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

Earlier = Callable[[Recorded], Awaitable[Sequence[Recorded]]]
"""The events of a stream before one of it."""
BATCH = 128
_BETWEEN_SENDS_S = 1.0
_LONGEST_PAUSE_S = 16.0
_LOGGER = "opentelemetry"


class Tracer:
    """Spans of many runs as they end. Of a run that began before, the earlier events are read, and what they ended is not told again."""

    def __init__(self, earlier: Earlier) -> None:
        self._earlier = earlier
        self._traces: dict[str, Trace] = {}

    async def ended_by(self, recorded: Recorded) -> list[Span]:
        """Raises LedgerDamaged."""
        trace = self._traces.get(recorded.stream)
        if trace is None:
            trace = self._traces.setdefault(recorded.stream, Trace(recorded.event.run))
            for before in await self._earlier(recorded) if recorded.version > 1 else ():
                trace.add(before)
        return trace.add(recorded)


def otlp_lines(earlier: Earlier) -> LinesOf:
    """For a file: what ends with an event is one line."""
    tracer = Tracer(earlier)

    async def lines_of(recorded: Recorded) -> Sequence[bytes]:
        ended = await tracer.ended_by(recorded)
        return [otlp_line(ended)] if ended else []

    return lines_of


class OtlpChannel:
    """Sends spans in batches with OpenTelemetry's own exporter; what is not accepted is sent again until the command ends.

    `endpoint` is a collector's base address, as http://127.0.0.1:4318; None: the standard variables (`OTEL_EXPORTER_OTLP_...`) name it.
    Raises UsageError when the exporter isn't installed.
    """

    def __init__(self, endpoint: str | None, earlier: Earlier) -> None:
        self.name = "otlp"
        self.again = SPANS_AGAIN
        if not installed():
            raise UsageError(
                "spans can't be sent: OpenTelemetry is not installed",
                expected="the extra `otel`",
                hint="pip install 'cavalcade[otel]', or write them to a file: --otlp-file PATH",
            )
        self._heard = _Heard()
        logging.getLogger(_LOGGER).addHandler(self._heard)
        self._endpoint = None if endpoint is None else endpoint.rstrip("/").removesuffix("/v1/traces") + "/v1/traces"
        self._exporter: OTLPSpanExporter | None = None
        self._tracer = Tracer(earlier)
        self._unsent: list[Span] = []
        self._sent_at = 0.0

    async def open(self) -> None:
        return

    async def send(self, recorded: Recorded) -> None:
        self._unsent += await self._tracer.ended_by(recorded)
        now = asyncio.get_running_loop().time()
        if len(self._unsent) >= BATCH or (self._unsent and now - self._sent_at >= _BETWEEN_SENDS_S):
            self._sent_at = now
            await self.flush()

    async def flush(self) -> None:
        pause_s = 0.5
        while self._unsent:
            if self._export(self._unsent[:BATCH]):
                del self._unsent[:BATCH]
                self._heard.last = ""
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _export(self, batch: Sequence[Span]) -> bool:
        """The exporter takes a quarter of a second to import: only a command that has something to send waits for it, in this thread."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._exporter is None:
            self._exporter = OTLPSpanExporter(endpoint=self._endpoint)
        resource = _resource()
        done = self._exporter.export([_readable(span, resource) for span in batch])
        return done is SpanExportResult.SUCCESS

    def trouble(self) -> str:
        return self._heard.last

    def interrupt(self) -> None:
        self._heard.setLevel(logging.CRITICAL)  # that it is interrupted is not what went wrong
        if self._exporter is not None:
            self._exporter.shutdown()

    async def aclose(self) -> None:
        logging.getLogger(_LOGGER).removeHandler(self._heard)


class _Heard(logging.Handler):
    """Keeps what the exporter complains of; the terminal stays clean."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _resource() -> Resource:
    """Who sends, as OpenTelemetry's own variables say it before we do."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    return Resource.create(SERVICE).merge(OTELResourceDetector().detect())


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    """As the SDK would have made it, with our ids and times."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

    def context(id: str) -> SpanContext:
        return SpanContext(
            int(span.trace, 16), int(id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
        )

    code = {"unset": StatusCode.UNSET, "ok": StatusCode.OK, "error": StatusCode.ERROR}[span.status]
    return ReadableSpan(
        name=span.name,
        context=context(span.id),
        parent=context(span.parent) if span.parent else None,
        resource=resource,
        attributes=span.attributes,
        events=[Event(note.name, dict(note.attributes), nanoseconds(note.time)) for note in span.notes],
        status=Status(code, (span.message or None) if code is StatusCode.ERROR else None),
        start_time=nanoseconds(span.start),
        end_time=None if span.end is None else nanoseconds(span.end),
        instrumentation_scope=InstrumentationScope("cavalcade", __version__),
    )
