"""A sandbox whose commands reach the hosts they name, and no others: it gives them a way to the proxy outside, see `proxy`."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox, Told
from cavalcade.sandbox.proxy import Proxy, Resolver, look_up

_OWN_LOOPBACK = ("bubblewrap",)
_FORWARDER = Path(__file__).with_name("forwarder.py")


class Networked:
    """A `Sandbox`. Commands that name no host go through as they are, without any network.

    The sandbox within must give each command a loopback of its own, else hosts are refused as a whole. The forwarder inside counts as
    a process of the command, with a thread for each connection.
    """

    def __init__(self, sandbox: Sandbox, python: Path, home: Path, resolve: Resolver = look_up) -> None:
        """`python` runs the forwarder inside; `home` as for `interpreter_roots`."""
        self._sandbox, self._python, self._home, self._resolve = sandbox, python, home, resolve

    @property
    def name(self) -> str:
        return self._sandbox.name

    def describe(self) -> dict[str, str]:
        return self._sandbox.describe() | {"network": "hosts that are named, by a proxy"}

    async def run(self, command: Command, limits: Limits, *, told: Told | None = None) -> Result:
        """As the sandbox does; `Result.refused` tells the hosts that were asked for in vain. Raises UsageError for an entry of
        `Command.network` that is no `host:port`, too."""
        if not command.network:
            return await self._sandbox.run(command, limits, told=told)
        if self._sandbox.name not in _OWN_LOOPBACK:
            raise SandboxUnavailable(
                f"the sandbox {self._sandbox.name!r} can't let a command reach hosts",
                expected=" or ".join(_OWN_LOOPBACK),
            )
        proxy = Proxy(command.network, self._resolve)
        folder = Path(
            tempfile.mkdtemp(prefix="cavalcade-net-")
        )  # closed to other users; its folder within is shown inside
        try:
            shown = folder / "p"
            shown.mkdir(mode=0o755)
            shown.chmod(0o755)
            await self._open(proxy, shown / "s")
            readable = (*command.readable, *interpreter_roots(self._python, home=self._home), shown)
            argv = (
                str(self._python),
                "-I",
                "-S",
                "-c",
                _FORWARDER.read_text(encoding="utf-8"),
                str(shown / "s"),
                *command.argv,
            )
            inner = replace(command, argv=argv, readable=tuple(dict.fromkeys(readable)), network=())
            result = await self._sandbox.run(inner, limits, told=told)
            return replace(result, refused=proxy.refused())
        finally:
            await proxy.aclose()
            shutil.rmtree(folder)

    @staticmethod
    async def _open(proxy: Proxy, socket: Path) -> None:
        try:
            await proxy.open(socket)
            _share(socket)
        except OSError as exc:
            raise SandboxUnavailable(
                f"no proxy can be opened at {socket}: {exc}", hint="set TMPDIR to a short path"
            ) from exc


def _share(socket: Path) -> None:
    """The guest is another user where this process is root."""
    socket.chmod(0o666)
