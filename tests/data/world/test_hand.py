"""The assistant's own hand: the same things, plain and upright, apart from each other and inside the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sensorium.data.world.hand import in_own_hand, one_more
from sensorium.data.world.render import render
from sensorium.data.world.scene import HORIZON, STEADY_SHAPE, Box, Group, Scene, apart, combination, draw_scene
from sensorium.errors import ConfigError
from sensorium.evaluation.picture_reading import picture_score, read_picture


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("theme", ["things", "mixed", "sky"])
def test_it_shows_the_same_in_one_style(split: str, theme: str) -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        scene = draw_scene(rng, split=split, theme=theme)
        drawn = in_own_hand(scene, rng)
        assert combination(drawn) == combination(scene)
        assert (drawn.seed, drawn.background) == (scene.seed, scene.background)
        for thing in drawn.things:
            assert (thing.texture, thing.rotation, thing.shape_seed) == ("plain", 0.0, STEADY_SHAPE)


@pytest.mark.parametrize("sky", [False, True])
@pytest.mark.parametrize("count", range(1, 10))
def test_things_lie_inside_and_apart(count: int, sky: bool) -> None:
    rng = np.random.default_rng(count)
    scene = draw_scene(rng, split="train", theme="mixed" if sky else "things", groups=[Group(1, "red", "ball")])
    many = replace(scene, things=scene.things * count)
    if sky and count > 6:
        with pytest.raises(ConfigError, match="there is room for 6"):
            in_own_hand(many, rng)
        return
    boxes = [thing.box for thing in in_own_hand(many, rng).things]
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        assert 0 < x0 < x1 < 1
        assert (HORIZON if sky else 0) < y0 < y1 < 1
        for a0, b0, a1, b1 in boxes[:index]:
            assert x1 < a0 or a1 < x0 or y1 < b0 or b1 < y0


def test_places_are_left_to_chance_and_nothing_else_is() -> None:
    scene = draw_scene(np.random.default_rng(3), split="train", groups=[Group(2, "red", "apple")])
    drawn = [in_own_hand(scene, np.random.default_rng(seed)) for seed in range(30)]
    assert len({frozenset(thing.box for thing in each.things) for each in drawn}) == 6  # two of four places
    assert drawn[0] == in_own_hand(scene, np.random.default_rng(0))


@pytest.mark.parametrize("theme", ["things", "mixed"])
def test_middles_lie_on_the_corners_of_eight_by_eight_squares(theme: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(60):
        scene = in_own_hand(draw_scene(rng, split="train", theme=theme), rng)
        more = one_more(scene, "pink", "cup") or scene
        for thing in more.things:
            eighths = np.array(thing.centre) * 8
            assert np.allclose(eighths, np.round(eighths))


def test_a_reader_finds_all_of_it() -> None:
    rng = np.random.default_rng(8)
    right = []
    for _ in range(60):
        scene = in_own_hand(draw_scene(rng, split="validation"), rng)
        counts = [[group.count, group.colour, group.kind] for group in scene.groups()]
        right.append(picture_score(read_picture(render(scene, 64)), {"things": counts})["share"])
    assert np.mean(right) > 0.98


def drawn_scenes(rng: np.random.Generator, theme: str) -> list[Scene]:
    return [draw_scene(rng, split="train", theme=theme) for _ in range(60)]


@pytest.mark.parametrize("theme", ["things", "mixed"])
def test_one_more_is_beside_the_others(theme: str) -> None:
    rng = np.random.default_rng(1)
    top = 0.0 if theme == "things" else HORIZON
    scenes = ((before, one_more(before, "blue", "car")) for before in drawn_scenes(rng, theme))
    found = [(before, after) for before, after in scenes if after is not None]
    assert len(found) > 30  # of 60; under a sky there is not always room
    for before, after in found:
        *others, new = after.things
        assert tuple(others) == before.things
        assert (new.colour, new.kind, new.rotation, new.shape_seed) == ("blue", "car", 0.0, STEADY_SHAPE)
        assert all(apart(new.box, thing.box) for thing in others)
        assert new.box[1] > top


def test_beside_a_single_thing_there_is_room_for_one_as_large() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        alone = in_own_hand(draw_scene(rng, split="train", groups=[Group(1, "red", "ball")]), rng)
        both = one_more(alone, "blue", "car")
        assert both is not None
        assert [thing.size for thing in both.things] == ["large", "large"]


def test_one_more_is_as_large_as_there_is_room_for() -> None:
    rng = np.random.default_rng(1)
    scene = draw_scene(rng, split="train", groups=[Group(1, "red", "ball")])
    added = {}
    for name, box in (("beside little", (0.02, 0.02, 0.2, 0.2)), ("beside much", (0.32, 0.32, 0.98, 0.98))):
        after = one_more(replace(scene, things=(replace(scene.things[0], box=box),)), "blue", "car")
        assert after is not None
        x0, y0, x1, y1 = after.things[-1].box
        assert x0 >= 0
        assert y0 > 0
        assert max(x1, y1) <= 1
        added[name] = after.things[-1]
    assert [thing.size for thing in added.values()] == ["large", "small"]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([(0.02, 0.02, 0.2, 0.2)], (0.75, 0.75)),
        ([(0.8, 0.02, 0.98, 0.2)], (0.25, 0.75)),
        ([(0.02, 0.02, 0.2, 0.2), (0.8, 0.8, 0.98, 0.98), (0.02, 0.8, 0.2, 0.98)], (0.75, 0.25)),
    ],
)
def test_one_more_stands_where_it_has_the_most_room(others: list[Box], expected: tuple[float, float]) -> None:
    (ball,) = draw_scene(np.random.default_rng(1), split="train", groups=[Group(1, "red", "ball")]).things
    scene = Scene(tuple(replace(ball, box=box) for box in others), None, None, (), "white", 1)
    after = one_more(scene, "blue", "star")
    assert after is not None
    assert after.things[-1].centre == pytest.approx(expected)


def test_no_more_where_there_is_no_room() -> None:
    rng = np.random.default_rng(1)
    scene = draw_scene(rng, split="train", groups=[Group(1, "red", "ball")])
    full = replace(scene, things=(replace(scene.things[0], box=(0.02, 0.02, 0.98, 0.98)),))
    assert one_more(full, "blue", "car") is None
