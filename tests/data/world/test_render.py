"""Pictures show their scene, all of it and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.world import sprites
from sensorium.data.world.render import render
from sensorium.data.world.scene import Group, Scene, Thing, draw_scene
from sensorium.data.world.things import BACKGROUNDS, COLOURS, GROUNDS, KINDS, TEXTURES, THEMES, TIMES, WEATHERS
from sensorium.errors import ConfigError

seeds = st.integers(0, 2**32)
SIDE = 128


def drawn(seed: int, **wanted: object) -> Scene:
    return draw_scene(np.random.default_rng(seed), split="train", **wanted)  # type: ignore[arg-type]


def portrait(kind: str, shape_seed: int, *, colour: str = "blue", texture: str = "plain", rotation: float = 0) -> Scene:
    """One thing alone, in the middle of a white page."""
    width, height = (0.8 * share for share in sprites.proportions(kind, shape_seed, rotation))
    box = (0.5 - width / 2, 0.5 - height / 2, 0.5 + width / 2, 0.5 + height / 2)
    return Scene((Thing(kind, colour, "large", box, rotation, texture, shape_seed),), None, None, (), "white", 0)


def bounds_of_change(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float, float]:
    """The box around the pixels that differ."""
    y, x = np.nonzero((before != after).any(axis=2))
    return x.min(), y.min(), x.max() + 1, y.max() + 1


@settings(max_examples=40)
@given(seeds, st.sampled_from(["things", "mixed"]))
def test_a_box_is_exactly_what_is_drawn(seed: int, theme: str) -> None:
    scene = drawn(seed, theme=theme)
    empty = render(replace(scene, things=()), SIDE)
    for thing in scene.things:
        bounds = bounds_of_change(empty, render(replace(scene, things=(thing,)), SIDE))
        inside = [edge * SIDE for edge in thing.box]
        assert np.abs(np.subtract(bounds, inside)).max() < 1.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texture", TEXTURES)
def test_a_turned_thing_fills_its_box(kind: str, texture: str) -> None:
    for shape_seed in range(0, sprites.N_SHAPES, 5):
        scene = portrait(kind, shape_seed, texture=texture, rotation=sprites.LEAN[kind] * (-1) ** shape_seed)
        bounds = bounds_of_change(render(replace(scene, things=()), SIDE), render(scene, SIDE))
        assert np.abs(np.subtract(bounds, [edge * SIDE for edge in scene.things[0].box])).max() < 1.5


@settings(max_examples=30)
@given(seeds, st.sampled_from(THEMES))
def test_equal_scenes_give_equal_pixels(seed: int, theme: str) -> None:
    scene = drawn(seed, theme=theme)
    picture = render(scene, 64)
    assert picture.shape == (64, 64, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, render(scene, 64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_the_colour_that_its_thing_has(kind: str) -> None:
    for colour, rgb in COLOURS.items():
        picture = render(portrait(kind, 3, colour=colour), 64).reshape(-1, 3).astype(float)
        of_that_colour = np.abs(picture - rgb).max(axis=1) < 40
        assert of_that_colour.mean() > 0.06


def test_no_two_kinds_are_drawn_alike() -> None:
    pictures = np.stack([render(portrait(kind, 1), 32) for kind in KINDS]).astype(float)
    distances = np.abs(pictures[:, None] - pictures[None]).mean(axis=(2, 3, 4))
    assert distances[~np.eye(len(KINDS), dtype=bool)].min() > 15


def test_seeds_and_textures_change_a_shape() -> None:
    for kind in KINDS:
        assert len({render(portrait(kind, seed), 32).tobytes() for seed in range(8)}) == 8
        assert len({render(portrait(kind, 1, texture=texture), 32).tobytes() for texture in TEXTURES}) == 3


def test_nights_are_darker_than_days() -> None:
    for ground in GROUNDS:
        for weather in WEATHERS:
            day, night = (render(Scene((), weather, time, (), ground, 4), 32)[:16].mean() for time in TIMES)
            assert night < 0.75 * day


def test_snow_is_white_and_a_clear_sky_blue() -> None:
    snow = render(Scene((), "snow", "day", (), "meadow", 4), 64)
    clear = render(Scene((), "sunny", "day", (), "meadow", 4), 64).astype(int)
    assert snow[-8:].min() > 200
    assert (clear[:4, :, 2] - clear[:4, :, 0]).mean() > 100


def test_no_two_skies_of_different_seeds_are_the_same() -> None:
    for weather in WEATHERS:
        assert len({render(Scene((), weather, "day", (), "sand", seed), 32).tobytes() for seed in range(5)}) == 5


def test_a_handwritten_digit_is_where_its_place_in_the_row_is() -> None:
    scene = drawn(3, theme="digits", digits=[1, 8])
    page = render(replace(scene, digits=(), writing=()), 64).astype(int)
    ink = np.abs(render(scene, 64) - page).sum(axis=(0, 2))
    assert ink[:28].sum() > 1000
    assert ink[36:].sum() > 1000
    assert ink[31:33].sum() < 0.2 * ink[:28].sum()


@pytest.mark.parametrize("size", [16, 17, 96, 200, 500, (48, 32), (30, 70)])
def test_any_size_shows_the_same_scene(size: int | tuple[int, int]) -> None:
    width, height = (size, size) if isinstance(size, int) else size
    scene = drawn(9, theme="mixed", groups=[Group(1, "red", "house", "large")], weather="cloudy", time="day")
    picture = render(scene, size)
    assert picture.shape == (height, width, 3)
    x0, y0, x1, y1 = scene.things[0].box
    inside = picture[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)].astype(float)
    reddish = inside[..., 0] > 1.5 * inside[..., 1:].max(axis=2)
    assert reddish.mean() > 0.25


def test_papers_are_pale() -> None:
    for background in BACKGROUNDS:
        assert all(render(Scene((), None, None, (), background, seed), 16).min() > 200 for seed in range(8))


@pytest.mark.parametrize("size", [0, 15, 4000, (64, 8)])
def test_a_size_out_of_range_is_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"a picture of \d+x\d+ pixels: give sides within 16\.\.2048"):
        render(drawn(0), size)
