"""Credentials are lent to one command, by reference, and masked in all that comes back from it.

A `Command` names them (`secrets={"API_TOKEN": SecretRef("DEPLOY_TOKEN")}`): that is what is recorded. The value is looked up when the
command starts, goes into that command's environment and nowhere else, and is taken out of its output, also where it lies across the
borders of pieces, URL-encoded or in base64, and of the files it leaves in `Command.results`. Not masked: what a command hides on
purpose (reversed, compressed, encrypted) and what it writes to the workspace, which the gates look at.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cavalcade.kernel.errors import SandboxUnavailable, UsageError
from cavalcade.kernel.redaction import Redactor, credentials_in
from cavalcade.kernel.redaction_stream import StreamRedactor
from cavalcade.sandbox.port import Channel, Command, Limits, Result, Sandbox, SecretRef, Told
from cavalcade.sandbox.usage import folder_use

_MOST_BYTES = 64 << 20
"""A file of results that is larger is removed rather than given out unread."""


class Broker:
    """Knows the values of the configured credentials: those of the environment and of `.env` files."""

    def __init__(self, configured: Mapping[str, str]) -> None:
        self._configured = dict(configured)

    def resolve(self, reference: SecretRef) -> str:
        """Raises UsageError for one that is not configured, or that could not be masked: too short, or a plain word."""
        value = self._configured.get(reference)
        if not value:
            raise UsageError(
                f"no credential {reference!r} is configured",
                expected="the name of a variable of the environment or of .env",
                hint=f"set {reference}, or name another",
            )
        if not credentials_in({"SECRET": value}):
            raise UsageError(
                f"the credential {reference!r} can't be lent: it could not be masked in what the command prints",
                expected="8 characters or more, not a plain word, number or path",
            )
        return value


class Brokered:
    """A `Sandbox` whose commands get the credentials they name. Commands that name none go through as they are."""

    def __init__(self, sandbox: Sandbox, broker: Broker, redactor: Redactor) -> None:
        """`redactor` knows what is to be masked besides the values that are lent."""
        self._sandbox, self._broker, self._redactor = sandbox, broker, redactor

    @property
    def name(self) -> str:
        return self._sandbox.name

    def describe(self) -> dict[str, str]:
        return self._sandbox.describe()

    async def run(self, command: Command, limits: Limits, *, told: Told | None = None) -> Result:
        """As the sandbox does, with output and results masked. Raises UsageError for a credential that can't be lent, too."""
        if not command.secrets:
            return await self._sandbox.run(command, limits, told=told)
        values = {name: self._broker.resolve(reference) for name, reference in command.secrets.items()}
        if taken := sorted(values.keys() & command.env.keys()):
            raise UsageError(f"{taken[0]} is set twice: as a variable and as a credential", expected="one of them")
        redactor = self._redactor.also(_to_mask(values))
        masks: dict[Channel, _Mask] = {
            "stdout": _Mask("stdout", redactor, told),
            "stderr": _Mask("stderr", redactor, told),
        }
        lent = replace(command, env={**command.env, **values}, secrets={})
        try:
            result = await self._sandbox.run(lent, limits, told=lambda channel, data: masks[channel].feed(data))
        except SandboxUnavailable as exc:
            raise SandboxUnavailable(redactor.redact(exc.what).text, hint=exc.hint, places=exc.places) from None
        finally:
            if command.results:
                mask_files(command.results, redactor)
        return replace(result, stdout=masks["stdout"].close(), stderr=masks["stderr"].close())


def _to_mask(values: Mapping[str, str]) -> dict[str, str]:
    """Under names that say that they are secrets. The lines of a longer value each, since a stream is given out by lines."""
    found: dict[str, str] = {}
    for name, value in values.items():
        marked = name if credentials_in({name: value}) else f"{name}_SECRET"
        found[marked] = value
        if "\n" in value:
            found |= {f"LINE_{number}_OF_{name}_SECRET": line for number, line in enumerate(value.splitlines())}
    return found


class _Mask:
    """One stream: bytes in as they come, masked bytes out."""

    def __init__(self, channel: Channel, redactor: Redactor, told: Told | None) -> None:
        self._channel: Channel = channel
        self._told = told
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._stream = StreamRedactor(redactor)
        self._given = bytearray()

    def feed(self, data: bytes) -> None:
        self._give(self._stream.feed(self._decoder.decode(data)))

    def close(self) -> bytes:
        """The whole stream, masked."""
        self._give(self._stream.feed(self._decoder.decode(b"", final=True)) + self._stream.close())
        return bytes(self._given)

    def _give(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        self._given += data
        if data and self._told:
            self._told(self._channel, data)


def mask_files(folder: Path, redactor: Redactor) -> None:
    """Rewrites regular files below `folder` that hold secrets; no link is followed. Nobody may write there meanwhile.

    What can't be looked into is removed: files that are too large, and those that can't be opened. Raises OSError.
    """

    def mask(name: str, inside: int, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode):
            return
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
        except PermissionError:
            os.unlink(name, dir_fd=inside)
            return
        with open(descriptor, "r+b") as file:
            if info.st_size > _MOST_BYTES:
                os.unlink(name, dir_fd=inside)
                return
            masked = redactor.redact(file.read().decode("utf-8", "surrogateescape"))
            if masked.kinds:
                file.seek(0)
                file.truncate()
                file.write(masked.text.encode("utf-8", "surrogateescape"))

    folder_use(folder, mask)
