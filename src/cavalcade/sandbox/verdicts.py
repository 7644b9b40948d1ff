"""Good verdicts of the live probe, kept for this boot, kernel, tool and version of this room, so that the next start costs nothing."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cavalcade.kernel.canonical import digest, digest_of


@dataclass(frozen=True)
class Verdict:
    """`key` is the digest of all that it depends on."""

    key: str
    verified_at: datetime


def key_of(tool: list[str | int]) -> str:
    """`tool`: whatever tells one state of the sandbox's tool from another."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return digest_of(
        {
            "boot": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            "kernel": list(os.uname()),
            "tool": tool,
            "code": [digest(source.read_bytes()) for source in sources],
            "uid": os.geteuid(),
        }
    )


def read_verdicts(cache: Path) -> dict[str, Verdict]:
    """By name of the sandbox. Empty when there is none, or when somebody else could have written it."""
    try:
        descriptor = os.open(cache, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return {}
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if info.st_uid != os.geteuid() or info.st_mode & 0o022:
            return {}
        try:
            known: dict[str, list[str]] = json.loads(file.read(65536))
            return {name: Verdict(key, datetime.fromisoformat(moment)) for name, (key, moment) in known.items()}
        except (ValueError, TypeError, AttributeError):
            return {}


def keep_verdict(cache: Path, name: str, verdict: Verdict) -> None:
    """Where nothing can be kept, the next start probes again."""
    known = read_verdicts(cache) | {name: verdict}
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=cache.parent, prefix=cache.name)
        try:
            with open(descriptor, "wb") as file:
                kept = {name: [verdict.key, verdict.verified_at.isoformat()] for name, verdict in known.items()}
                file.write(json.dumps(kept).encode())
            os.replace(temporary, cache)
        except OSError:
            os.unlink(temporary)
