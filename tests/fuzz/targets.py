"""All targets, by name."""

from __future__ import annotations

from tests.fuzz import config, doors, store, supervise, wire
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for room in (wire, doors, store, config, supervise)
    for target in room.TARGETS
}
