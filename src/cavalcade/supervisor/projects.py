"""Where projects lie on this installation.

A project's id follows from the folder in which it was first worked on, and it keeps that id wherever it goes. A project that came from
elsewhere, or was moved, is registered under its new folder: an event of this installation in the project's stream. What other
installations registered says where it lies there, and is passed over here.
"""

from __future__ import annotations

from pathlib import Path

from cavalcade.config.paths import project_id
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import VersionConflict
from cavalcade.kernel.ids import ProjectId, new_event_id, project_stream
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import ProjectRegistered, decode, encode

_TRIES = 50
"""Conflicts in a row before giving up: each means that somebody else made progress."""


class Projects:
    def __init__(self, ledger: Ledger, clock: Clock, entropy: Entropy) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
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
        for _ in range(_TRIES):
            version = await self._ledger.version(project_stream(project))
            if await self.folder(project) == folder:
                return
            draft = Draft(
                id=new_event_id(self._clock, self._entropy),
                type=payload.TYPE,
                time=self._clock.now(),
                data=encode(payload),
                project=project,
                role="supervisor",
            )
            try:
                await self._ledger.append(project_stream(project), [draft], expected_version=version)
            except VersionConflict:
                continue
            return
        raise VersionConflict(f"project {project} kept changing while it was registered, {_TRIES} times")

    async def _registered(self, project: ProjectId) -> tuple[int, str] | None:
        """Position and folder of our last registration. Costs what has come into the project's stream since the last call."""
        after, found = self._known.get(project, (0, None))
        for recorded in await self._ledger.read(stream=project_stream(project), after=after):
            after = recorded.position
            if recorded.origin == self._ledger.origin and recorded.event.type == ProjectRegistered.TYPE:
                payload = decode(recorded.event)
                assert isinstance(payload, ProjectRegistered)
                found = after, payload.repository
        self._known[project] = (after, found)
        return found


def _resolved(repository: Path) -> str:
    return str(repository.resolve())
