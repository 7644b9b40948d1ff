"""Which side channels are asked for: environment variables, which the flags of the command line only set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from cavalcade.kernel.errors import UsageError

FD, SOCKET, FILE = "CAVALCADE_EVENTS_FD", "CAVALCADE_EVENTS_SOCKET", "CAVALCADE_EVENTS_FILE"
OTLP, OTLP_FILE, WAIT = "CAVALCADE_OTLP", "CAVALCADE_OTLP_FILE", "CAVALCADE_EVENTS_WAIT"
_STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
DEFAULT_WAIT_S = 2.0
_N = TypeVar("_N", int, float)


class Asked(NamedTuple):
    """None: not asked for. `standard` is an endpoint for whole machines, not for us in particular; `otlp` goes before it."""

    fd: int | None = None
    socket: Path | None = None
    file: Path | None = None
    otlp: str | None = None
    standard: str | None = None
    otlp_file: Path | None = None
    wait_s: float = DEFAULT_WAIT_S

    @property
    def anything(self) -> bool:
        return self._replace(wait_s=DEFAULT_WAIT_S) != Asked()


def asked(environ: Mapping[str, str]) -> Asked:
    """Empty values count as not set. Raises UsageError."""
    otlp = environ.get(OTLP) or None
    if otlp is not None and not otlp.startswith(("http://", "https://")):
        raise UsageError(f"{OTLP}={otlp} is no address", expected="for example http://127.0.0.1:4318")
    return Asked(
        fd=_number(environ, FD, int, "the number of an open descriptor, such as 3"),
        socket=_path(environ, SOCKET),
        file=_path(environ, FILE),
        otlp=otlp,
        standard=_standard(environ) if otlp is None else None,
        otlp_file=_path(environ, OTLP_FILE),
        wait_s=_wait(environ),
    )


def _standard(environ: Mapping[str, str]) -> str | None:
    """What OpenTelemetry's own variables say. Only OTLP over HTTP is spoken here."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    spoken = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if spoken not in (None, "", "http/protobuf"):
        return None
    return next((environ[name] for name in _STANDARD if environ.get(name)), None)


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    text = environ.get(name)
    return Path(text).expanduser() if text else None


def _wait(environ: Mapping[str, str]) -> float:
    found = _number(environ, WAIT, float, "seconds, 0 or more")
    if found is not None and not 0 <= found <= 3600:
        raise UsageError(f"{WAIT}={environ[WAIT]} is out of range", expected="seconds from 0 to 3600")
    return DEFAULT_WAIT_S if found is None else found


def _number(environ: Mapping[str, str], name: str, kind: Callable[[str], _N], expected: str) -> _N | None:
    text = environ.get(name)
    if not text:
        return None
    try:
        return kind(text)
    except ValueError as exc:
        raise UsageError(f"{name}={text} is no number", expected=expected) from exc
