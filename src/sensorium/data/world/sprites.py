"""The shapes of things: vector sprites of one colour with details."""

from __future__ import annotations

from sensorium.data.world.things import KINDS

N_SHAPES = 256  # shape seeds run below this
LEAN: dict[str, float] = dict.fromkeys(KINDS, 20.0)  # the most a thing is turned either way, in degrees


def proportions(kind: str, shape_seed: int, rotation: float) -> tuple[float, float]:
    """Width and height of the turned shape, the longer one 1."""
    return (1.0, 1.0)
