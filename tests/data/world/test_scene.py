"""Scenes are exactly what was asked for, and never what is held out."""

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.world import handwriting
from sensorium.data.world.scene import Group, Scene, Thing, combination, draw_scene, place_things
from sensorium.data.world.splits import SPLITS, pairs, side
from sensorium.data.world.things import BACKGROUNDS, GROUNDS, PLACES, SIZES, THEMES, TIMES, WEATHERS
from sensorium.errors import ConfigError

seeds = st.integers(0, 2**32)
splits = st.sampled_from(SPLITS)
themes = st.sampled_from(THEMES)


def drawn(seed: int, **wanted: Any) -> Scene:
    return draw_scene(np.random.default_rng(seed), **{"split": "train", **wanted})


def a_thing(x: float, y: float) -> Thing:
    return Thing("cup", "red", "small", (x - 0.1, y - 0.1, x + 0.1, y + 0.1), 0.0, "plain", 0)


@given(seeds, splits, themes)
def test_the_same_generator_draws_the_same_scene(seed: int, split: str, theme: str) -> None:
    assert drawn(seed, split=split, theme=theme) == drawn(seed, split=split, theme=theme)


@given(seeds, splits, themes)
def test_a_scene_shows_nothing_of_the_other_split(seed: int, split: str, theme: str) -> None:
    scene = drawn(seed, split=split, theme=theme)
    assert {(thing.colour, thing.kind) for thing in scene.things} <= set(pairs(split))
    assert all(side(f"handwriting {number}") == split for number in scene.writing)
    assert side(f"scene {scene.seed}") == split


@given(seeds, st.sampled_from(["things", "mixed"]))
def test_things_lie_within_the_picture_and_apart(seed: int, theme: str) -> None:
    boxes = [thing.box for thing in drawn(seed, theme=theme).things]
    assert all(0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 for x0, y0, x1, y1 in boxes)
    for a, b in combinations(boxes, 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


@given(seeds)
def test_a_size_says_how_long_the_longer_side_is(seed: int) -> None:
    for thing in drawn(seed).things:
        x0, y0, x1, y1 = thing.box
        low, high = SIZES[thing.size]
        assert low - 1e-9 <= max(x1 - x0, y1 - y0) <= high + 1e-9


@given(seeds, themes)
def test_a_theme_has_what_belongs_to_it(seed: int, theme: str) -> None:
    scene = drawn(seed, theme=theme)
    assert bool(scene.things) == (theme in ("things", "mixed"))
    assert (scene.weather in WEATHERS and scene.time in TIMES) == (theme in ("sky", "mixed"))
    assert len(scene.digits) == len(scene.writing)
    assert (1 <= len(scene.digits) <= 3) == (theme == "digits")
    assert scene.background in (GROUNDS if theme in ("sky", "mixed") else BACKGROUNDS)


def test_what_is_asked_for_is_drawn() -> None:
    groups = [Group(3, "green", "apple", "small", "striped"), Group(1, "red", "car", "large", "plain")]
    scene = drawn(1, theme="mixed", groups=groups, weather="storm", time="night")
    assert scene.groups() == tuple(groups)
    assert (scene.weather, scene.time) == ("storm", "night")
    assert drawn(1, theme="digits", digits=[4, 0, 7]).digits == (4, 0, 7)


def test_no_group_is_a_picture_of_nothing() -> None:
    assert drawn(1, groups=[]).things == ()


def test_new_things_stand_apart_from_those_that_are_there() -> None:
    before = drawn(2, groups=[Group(4, "red", "apple", "small")]).things
    (new,) = place_things(np.random.default_rng(3), [Group(1, "blue", "cup", "small")], beside=before, top=0.4)
    assert new.box[1] > 0.4
    assert all(
        new.box[2] < old.box[0] or old.box[2] < new.box[0] or new.box[3] < old.box[1] or old.box[3] < new.box[1]
        for old in before
    )


def test_every_weather_is_met_by_day_and_night_in_both_splits() -> None:
    for split in SPLITS:
        rng = np.random.default_rng(0)
        skies = {
            (scene.weather, scene.time) for scene in (draw_scene(rng, split=split, theme="sky") for _ in range(200))
        }
        assert skies == {(weather, time) for weather in WEATHERS for time in TIMES}


def test_digits_are_those_of_the_handwriting() -> None:
    from sklearn.datasets import load_digits

    scene = drawn(5, theme="digits", digits=[9, 2])
    assert load_digits().target[list(scene.writing)].tolist() == [9, 2]


def test_both_splits_can_write_every_digit() -> None:
    counts = {split: [len(handwriting.samples(split, digit)) for digit in range(10)] for split in SPLITS}
    assert min(counts["validation"]) >= 8
    assert sum(counts["train"]) + sum(counts["validation"]) == 1797


def test_a_combination_forgets_where_and_in_what_order_things_stand() -> None:
    one, other = a_thing(0.2, 0.3), a_thing(0.7, 0.8)
    scene = Scene((one, other), "rain", "day", (), "meadow", 1)
    assert combination(scene) == combination(Scene((other, one), "rain", "day", (), "sand", 9)) == "2 red cup, rain day"
    assert combination(Scene((), None, None, (0, 7), "white", 1, (3, 4))) == "07"


def test_a_place_is_the_ninth_that_the_centre_lies_in() -> None:
    places = [a_thing(x, y).place for y in (0.15, 0.5, 0.85) for x in (0.15, 0.5, 0.85)]
    assert tuple(places) == PLACES


@given(seeds, themes)
def test_the_facts_are_plain_data(seed: int, theme: str) -> None:
    scene = drawn(seed, theme=theme)
    facts = json.loads(json.dumps(scene.facts()))
    assert facts["digits"] == list(scene.digits)
    assert [thing["box"] for thing in facts["things"]] == [list(thing.box) for thing in scene.things]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"split": "test"}, "split is 'test': give one of train, validation"),
        ({"theme": "sea"}, "theme is 'sea': give one of things, sky, digits, mixed"),
        ({"theme": "sky", "weather": "fog"}, "weather is 'fog': give one of sunny"),
        ({"theme": "sky", "time": "noon"}, "time is 'noon': give one of day, night"),
        ({"weather": "rain"}, "do not go with theme 'things': give theme 'sky' or 'mixed'"),
        ({"theme": "sky", "groups": []}, "do not go with theme 'sky': give theme 'things' or 'mixed'"),
        ({"digits": [1]}, "1 digits with theme 'things': give 1 to 3"),
        ({"theme": "digits", "digits": [1, 2, 3, 4]}, "4 digits with theme 'digits': give 1 to 3"),
        ({"theme": "digits", "digits": [12]}, "12 is no digit: give 0 to 9"),
        ({"groups": [Group(6, "red", "apple")]}, "a group of 6 things: give 1 to 5"),
        ({"groups": [Group(1, "grey", "apple")]}, "colour is 'grey': give one of red"),
        ({"groups": [Group(1, "red", "cow")]}, "kind is 'cow': give one of apple"),
        ({"groups": [Group(1, "red", "apple", "huge")]}, "size is 'huge': give one of small, large"),
        ({"groups": [Group(1, "red", "apple", "small", "hairy")]}, "texture is 'hairy': give one of plain"),
        ({"groups": [Group(1, *pairs("validation")[0])]}, "is held out from split 'train': choose among pairs"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        drawn(0, **wanted)


def test_more_things_than_fit_are_refused() -> None:
    crowd = [Group(5, colour, "apple", "large") for colour in ("red", "green")]
    with pytest.raises(ConfigError, match="no room for 10 things without overlap: give fewer, or small ones"):
        drawn(0, groups=crowd)


def test_digits_without_the_library_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    handwriting._handwriting.cache_clear()
    handwriting._samples.cache_clear()
    with pytest.raises(ConfigError, match=r"handwritten digits need scikit-learn: pip install 'sensorium\[world\]'"):
        drawn(0, theme="digits")
