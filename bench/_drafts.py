"""Events to append, the same for every benchmark of a ledger."""

from __future__ import annotations

import msgspec

from cavalcade.kernel.ids import ProjectId, RunId, TaskId, new_event_id
from cavalcade.protocol.envelope import Draft
from cavalcade.testing.clock import FakeClock, SeededEntropy


def edit_drafts(count: int, *, tenants: int = 0) -> list[Draft]:
    """Events like those of an edit, about 1 KiB of body, of so many tenants in turn."""
    clock, entropy = FakeClock(tick_s=0.001), SeededEntropy(7)
    drafts: list[Draft] = []
    for i in range(count):
        data = {
            "task": f"t{i % 9}", "number": i, "path": f"src/package/module_{i % 40}/file_{i % 7}.py",
            "before": entropy.bytes(20).hex(), "after": entropy.bytes(20).hex(), "commit": entropy.bytes(20).hex(),
            "tree": entropy.bytes(20).hex(), "places": [f"src/package/file_{j}.py:{i % 900 + j}" for j in range(8)],
        }  # fmt: skip
        drafts.append(
            Draft(
                id=new_event_id(clock, entropy), type="cavalcade.edit.applied.v1", time=clock.now(),
                data=msgspec.Raw(msgspec.json.encode(data)), subject=f"src/package/file_{i % 7}.py",
                project=ProjectId("p4e2a90b1"), run=RunId("r0hq8x1vz2m3k"), task=TaskId(f"t{i % 9}"), agent="coder-1",
                role="coder", traceid=entropy.bytes(16).hex(), spanid=entropy.bytes(8).hex(),
                tenant=f"tenant-{i % tenants}" if tenants else "",
            )
        )  # fmt: skip
    return drafts
