"""Old events as their types mean them today: what was recorded once is read for ever, and its bytes stay as they were.

Each step takes the data of one version of a type, as plain JSON values, to the next version; steps chain. A step is a pure function, and is
never changed or taken away once a version that wrote its type was released: `tests/golden/events-v<n>.jsonl` holds what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]
"""A decoded JSON object."""

UNRECORDED = "unrecorded"
"""Context hash of a decision from a time when nobody noted what the decider saw."""


class Step(NamedTuple):
    """To which type, and how. `change` may keep parts of its argument, and never alters it."""

    to: str
    change: Callable[[Json], Json]


def _decision_v2(data: Json) -> Json:
    """Memories used are on record, and what was seen is never left out. Version 1 left an unknown context hash empty."""
    decision: Json = data["decision"]
    seen = decision.get("context_hash") or UNRECORDED
    return {**data, "decision": {**decision, "context_hash": seen, "memories": []}}


STEPS: Mapping[str, Step] = {
    "cavalcade.decision.made.v1": Step("cavalcade.decision.made.v2", _decision_v2),
}


def upcast(name: str, data: Json, steps: Mapping[str, Step] = STEPS) -> tuple[str, Json]:
    """Type and data as of today. Raises KeyError, TypeError or AttributeError for data that never was of that type."""
    while (step := steps.get(name)) is not None:
        name, data = step.to, step.change(data)
    return name, data
