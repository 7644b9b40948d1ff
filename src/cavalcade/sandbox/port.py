"""What other rooms may ask of a sandbox: run one command on one scratch folder, within limits, cut off from everything else.

The workspace is handed over: a scratch copy that nobody else writes to while a command runs, without hard links to files
outside it. A sandbox may change its ownership. **The guest can leave symbolic links in it**: whoever reads results out of it
opens them without following links (`O_NOFOLLOW`) and refuses those that lead out. Whoever removes it uses `scratch.discard`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal, NewType, Protocol

WORK = PurePosixPath("/sandbox")
"""Where the workspace is inside every sandbox."""
RESULTS = PurePosixPath("/results")
"""Where `Command.results` is."""

Hit = Literal["", "wall", "cpu", "memory", "processes", "file_size", "disk", "files", "output"]
"""Which limit ended the command; empty when none did."""
Met = Literal["open_files", "file_size"]
"""A limit that the kernel answers by an ordinary error, which the command may handle."""
Channel = Literal["stdout", "stderr"]
Told = Callable[[Channel, bytes], None]
"""Gets output as it comes, on the event loop. May not raise."""
SecretRef = NewType("SecretRef", str)
"""The name of a configured credential, never its value."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a command may use. Whatever goes beyond is killed as a whole, but for the three that an ordinary error answers.

    `wall_s`, `cpu_s`: seconds, CPU summed over all processes. `memory_bytes`: resident memory over all processes (pages shared
    between them counted once), and private writable memory of each one (beyond: out-of-memory error in that process).
    `processes`: threads included. `open_files`: descriptors per process (error). `file_bytes`: size of one file (error, or SIGXFSZ).
    `disk_bytes`: growth of the workspace, and the size of `/tmp`. `files`: growth in the number of files. `output_bytes`:
    standard output and error together.
    """

    wall_s: float = 600.0
    cpu_s: float = 1200.0
    memory_bytes: int = 4 << 30
    processes: int = 256
    open_files: int = 4096
    file_bytes: int = 1 << 30
    disk_bytes: int = 2 << 30
    files: int = 100_000
    output_bytes: int = 64 << 20


def _no_environment() -> Mapping[str, str]:
    return MappingProxyType({})


def _no_secrets() -> Mapping[str, SecretRef]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Command:
    """`argv` to run on the folder `workspace`, which is `/sandbox` inside.

    `env` is added to the sandbox's own few variables (PATH, HOME, TMPDIR, LANG, USER); nothing of the caller's is inherited.
    `stdin` is what it reads on standard input; nothing when empty. `cwd` is relative to the workspace. `readable` are files and
    folders that the guest sees read-only at their own path (an interpreter's prefix, a virtual environment); one that is a symbolic
    link is recreated as a link. `results` is a second folder to write to, `/results` inside, so that reports don't lie among the
    project's files; handed over like the workspace.

    `writable` and `read_only` are files and folders of the workspace that exist, relative to it: what is not below one of the first,
    or is below one of the second, can't be written to. `network` are the hosts that may be reached, as `host:port`; none: no network.
    `secrets` gives variables the values of configured credentials; only `brokering.Brokered` does that, a sandbox by itself gives none.
    """

    argv: tuple[str, ...]
    workspace: Path
    env: Mapping[str, str] = field(default_factory=_no_environment)
    cwd: str = "."
    readable: tuple[Path, ...] = ()
    results: Path | None = None
    stdin: bytes = b""
    writable: tuple[str, ...] = (".",)
    read_only: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    secrets: Mapping[str, SecretRef] = field(default_factory=_no_secrets)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A host that the command asked for and may not reach, and how often. `port` is 0 where none could be told."""

    host: str
    port: int
    count: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """`exit_code` is None when a signal ended the command (`signal`, else 0) or a limit did (`hit`).

    `peak_rss_bytes` is the highest sum of resident memory that was seen, looking every 50 ms: 0 for a shorter command.
    `met` are limits that were seen to be met though they ended nothing; one that is met and left between two looks is not seen.
    """

    exit_code: int | None
    signal: int
    hit: Hit
    stdout: bytes
    stderr: bytes
    duration_s: float
    peak_rss_bytes: int
    met: tuple[Met, ...] = ()
    refused: tuple[Refused, ...] = ()


class Sandbox(Protocol):
    @property
    def name(self) -> str: ...

    async def run(self, command: Command, limits: Limits, *, told: Told | None = None) -> Result:
        """Runs to the end or to a limit. When this returns, or is cancelled, no process of the command lives any more.

        `told` gets the output as it comes, all of it before this returns; the result holds it too.
        Raises SandboxUnavailable when the sandbox can't be set up or can't do what the command needs (network, read-only parts),
        UsageError for a workspace or folder that isn't there.
        """
        ...

    def describe(self) -> dict[str, str]:
        """Tool, version and what it contains: part of every receipt."""
        ...
