"""The generated world: an endless, seeded source of scenes whose whole truth is known."""

from sensorium.data.world.scene import Group, Scene, Thing, combination, draw_scene
from sensorium.data.world.splits import SPLITS, pairs, side

__all__ = ["SPLITS", "Group", "Scene", "Thing", "combination", "draw_scene", "pairs", "side"]
