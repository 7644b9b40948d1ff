"""Spans as OTLP JSON, one request in a line: the format of OpenTelemetry's file exporter, which collectors read with `otlpjsonfile`.

https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/: ids in hexadecimal, 64-bit integers as strings, enumerations as numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from cavalcade import __version__
from cavalcade.telemetry.spans import Span, Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTERNAL = 1
_STATUS = {"unset": 0, "ok": 1, "error": 2}
SERVICE = {"service.name": "cavalcade", "service.version": __version__}


def nanoseconds(moment: datetime) -> int:
    """Since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def otlp_line(spans: Sequence[Span]) -> bytes:
    """One line with its line feed. Spans that are open have no end."""
    scope = {"name": "cavalcade", "version": __version__}
    resource = {"attributes": _attributes(SERVICE)}
    request = {
        "resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [*map(_span, spans)]}]}]
    }
    return msgspec.json.encode(request) + b"\n"


def _span(span: Span) -> dict[str, Any]:
    document: dict[str, Any] = {"traceId": span.trace, "spanId": span.id}
    if span.parent:
        document["parentSpanId"] = span.parent
    document |= {"name": span.name, "kind": _INTERNAL, "startTimeUnixNano": str(nanoseconds(span.start))}
    if span.end is not None:
        document["endTimeUnixNano"] = str(nanoseconds(span.end))
    document["attributes"] = _attributes(span.attributes)
    if span.notes:
        document["events"] = [
            {
                "timeUnixNano": str(nanoseconds(note.time)),
                "name": note.name,
                "attributes": _attributes(note.attributes),
            }
            for note in span.notes
        ]
    document["status"] = {"code": _STATUS[span.status]} | ({"message": span.message} if span.message else {})
    return document


def _attributes(attributes: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case tuple():
            return {"arrayValue": {"values": [_value(one) for one in value]}}
