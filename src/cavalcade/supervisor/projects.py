"""Where projects lie on this installation.

A project's id follows from the folder in which it was first worked on, and it keeps that id wherever it goes. A project that came from
elsewhere, or was moved, is registered under its new folder: an event of this installation in the project's stream. What other
installations registered says where it lies there, and is passed over here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cavalcade.config.paths import project_id
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.ids import ProjectId, project_stream
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import ProjectRegistered, decode
from cavalcade.supervisor.project_stream import ProjectStream


class Projects:
    def __init__(self, ledger: Ledger, clock: Clock, entropy: Entropy) -> None:
        self._ledger = ledger
        self._stream = ProjectStream(ledger, clock, entropy)
        self._known: dict[ProjectId, tuple[int, tuple[int, str] | None]] = {}

    async def folder(self, project: ProjectId) -> str | None:
        """The folder that the project was last registered with here; None when it lies where its runs say."""
        found = await self._registered(project)
        return found[1] if found else None

    async def at(self, repository: Path) -> ProjectId:
        """The project in a repository's top folder, known or not yet."""
        folder = _resolved(repository)
        prefix = project_stream(ProjectId(""))
        projects = [ProjectId(stream.removeprefix(prefix)) for stream in await self._ledger.streams(prefix)]
        registered = {project: found for project in projects if (found := await self._registered(project))}
        here = [(position, project) for project, (position, where) in registered.items() if where == folder]
        if here:
            return max(here)[1]
        # The folder of a project that has moved away: what is there now is another project.
        own = project_id(repository)
        return project_id(repository, besides=self._ledger.origin) if own in registered else own

    async def register(self, project: ProjectId, repository: Path) -> None:
        """From now on the project lies in that folder. Doing it again changes nothing."""
        folder = _resolved(repository)
        payload = ProjectRegistered(project=project, repository=folder)

        def unless_there(now: str | None) -> tuple[ProjectRegistered, ...]:
            return () if now == folder else (payload,)

        await self._stream.record(project, self._last_folder, unless_there)

    def _last_folder(self, history: Sequence[Recorded]) -> str | None:
        return next((folder for _, folder in reversed(list(self._registrations(history)))), None)

    def _registrations(self, history: Sequence[Recorded]) -> Iterator[tuple[int, str]]:
        """Position and folder of each of our own."""
        for recorded in history:
            if recorded.origin == self._ledger.origin and recorded.event.type == ProjectRegistered.TYPE:
                payload = decode(recorded.event)
                assert isinstance(payload, ProjectRegistered)
                yield recorded.position, payload.repository

    async def _registered(self, project: ProjectId) -> tuple[int, str] | None:
        """Position and folder of our last registration. Costs what has come into the project's stream since the last call."""
        after, found = self._known.get(project, (0, None))
        if news := await self._ledger.read(stream=project_stream(project), after=after):
            found = max(self._registrations(news), default=found)
            self._known[project] = (news[-1].position, found)
        return found


def _resolved(repository: Path) -> str:
    return str(repository.resolve())
