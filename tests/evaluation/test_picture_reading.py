from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sensorium.data.world.render import render
from sensorium.data.world.scene import Group, Scene, draw_scene
from sensorium.data.world.talk import LANGUAGES, Seen, Talk, make_talk
from sensorium.data.world.things import TIMES, WEATHERS
from sensorium.errors import DataError
from sensorium.evaluation.picture_reading import PictureReading, ReadThing, picture_score, read_picture
from sensorium.evaluation.world_metrics import overlap

SPLITS = ("train", "validation")
N_PICTURES = 150


def drawn(split: str, index: int) -> tuple[Talk, Scene]:
    """A picture of any style, or, every other time, of the assistant's own."""
    rng = np.random.default_rng([41, index])
    talk = make_talk(("caption", "draw")[index % 2], rng, language=LANGUAGES[index // 2 % 2], split=split)
    *_, scene = (part.scene for turn in talk.turns for part in turn.parts if isinstance(part, Seen))
    return talk, scene


@cache
def read(split: str) -> tuple[tuple[Talk, Scene, PictureReading], ...]:
    asked = [drawn(split, index) for index in range(N_PICTURES)]
    return tuple((talk, scene, read_picture(render(scene, 64))) for talk, scene in asked)


def mean(scores: list[dict[str, float]], name: str) -> float:
    return float(np.mean([score[name] for score in scores if name in score]))


# --- the world's own pictures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_the_renderers_own_pictures_show_what_they_should(split: str) -> None:
    scores = [picture_score(reading, talk.facts) for talk, _, reading in read(split)]
    assert mean(scores, "share") >= 0.98
    assert mean(scores, "f1") >= 0.98
    assert mean(scores, "right") >= 0.95
    assert all(mean(scores, name) >= 0.96 for name in ("count", "colour", "kind", "thing", "weather", "time"))


@pytest.mark.parametrize("split", SPLITS)
def test_things_are_found_where_they_stand(split: str) -> None:
    near, places = [], []
    for _, scene, reading in read(split):
        if scene.things:
            asked = [[thing.place, thing.colour, thing.kind] for thing in scene.things]
            places.append(picture_score(reading, {"places": asked}))
        near += [max((overlap(thing.box, other.box) for other in reading.things), default=0) for thing in scene.things]
    assert np.mean(near) > 0.8
    assert mean(places, "place") > 0.94


@pytest.mark.parametrize("split", SPLITS)
def test_pictures_of_something_else_are_hardly_ever_right(split: str) -> None:
    talks, _, readings = zip(*read(split), strict=True)
    scores = [picture_score(reading, talk.facts) for talk, reading in zip(talks[1:], readings[:-1], strict=True)]
    assert mean(scores, "share") < 0.2
    assert mean(scores, "f1") < 0.1
    assert mean(scores, "right") < 0.05


# --- as a model draws them -------------------------------------------------------------------------------------------


def coarser(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BILINEAR)
    return np.array(small.resize((64, 64), Image.Resampling.BILINEAR))


def noisy(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(int(pixels.sum())).uniform(-6, 6, pixels.shape)
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6))
    return np.clip(np.array(blurred) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("worn", [coarser, noisy])
@pytest.mark.parametrize("split", SPLITS)
def test_blurred_and_noisy_pictures_are_read_too(split: str, worn) -> None:
    scores = [
        picture_score(read_picture(worn(render(scene, 64))), talk.facts)
        for talk, scene in (drawn(split, index) for index in range(60))
    ]
    assert mean(scores, "share") >= 0.95
    assert mean(scores, "right") >= 0.9


@pytest.mark.parametrize("size", [96, (160, 128)])
def test_a_picture_may_have_any_size(size: int | tuple[int, int]) -> None:
    groups = [Group(2, "red", "apple", "large", "plain"), Group(1, "blue", "car", "large", "striped")]
    scene = draw_scene(np.random.default_rng(3), split="train", groups=groups)
    facts = {"things": [[2, "red", "apple"], [1, "blue", "car"]], "weather": None, "time": None}
    assert picture_score(read_picture(render(scene, size)), facts)["right"] == 1


def test_an_empty_paper_holds_no_things() -> None:
    paper = np.full((64, 64, 3), 244, dtype=np.uint8)
    assert read_picture(paper) == read_picture(noisy(paper)) == PictureReading((), None, None)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("weather", WEATHERS)
def test_an_empty_scene_shows_its_sky_alone(weather: str, time: str) -> None:
    scene = draw_scene(np.random.default_rng(7), split="validation", theme="sky", weather=weather, time=time)
    assert read_picture(noisy(render(scene, 64))) == PictureReading((), weather, time)


@pytest.mark.parametrize(
    ("shape", "dtype", "match"),
    [
        ((64, 64), "uint8", r"shape \(64, 64\)"),
        ((3, 64, 64), "uint8", r"shape \(3, 64, 64\)"),
        ((64, 64, 3), "float32", "float32"),
        ((64, 12, 3), "uint8", "12x64 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(shape: tuple[int, ...], dtype: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_picture(np.zeros(shape, dtype=dtype))


# --- scores by hand --------------------------------------------------------------------------------------------------

RAIN = {"things": [[2, "red", "apple"], [1, "blue", "cup"]], "weather": "rain", "time": "night"}
APPLE = ReadThing("apple", "red", (0.0, 0.6, 0.2, 0.8))
CUP = ReadThing("cup", "blue", (0.7, 0.7, 0.9, 0.9))


def test_a_place_is_that_of_the_middle() -> None:
    assert (APPLE.place, CUP.place) == ("bottom left", "bottom right")
    assert ReadThing("cup", "blue", (0.3, 0.3, 0.6, 0.6)).place == "middle"
    assert ReadThing("cup", "blue", (1.0, 1.0, 1.0, 1.0)).place == "bottom right"


def test_all_that_is_asked_is_right() -> None:
    score = picture_score(PictureReading((APPLE, CUP, APPLE), "rain", "night"), RAIN)
    names = {"count", "colour", "kind", "thing", "weather", "time", "share", "f1", "right"}
    assert score == dict.fromkeys(names, 1.0)


def test_what_is_wrong_counts_where_it_is_wrong() -> None:
    swapped = (ReadThing("apple", "blue", APPLE.box), ReadThing("cup", "red", CUP.box), APPLE)
    score = picture_score(PictureReading(swapped, "rain", "day"), RAIN)
    assert score["count"] == score["colour"] == score["kind"] == score["weather"] == 1
    assert score["thing"] == pytest.approx(1 / 3)
    assert score["time"] == score["right"] == 0
    assert score["share"] == pytest.approx((4 + 1 / 3) / 6)
    assert score["f1"] == pytest.approx(2 * 1 / (5 + 4))  # only "weather:rain" is the same


def test_what_nobody_asked_for_is_wrong() -> None:
    extra = picture_score(PictureReading((APPLE, APPLE, CUP, CUP), "rain", "night"), RAIN)
    assert (extra["count"], extra["right"]) == (0, 0)
    assert extra["thing"] == pytest.approx(3 / 4)
    sky = {"things": [], "weather": "rain", "time": "night"}
    assert picture_score(PictureReading((), "rain", "night"), sky)["right"] == 1
    assert picture_score(PictureReading((APPLE,), "rain", "night"), sky)["right"] == 0
    paper = {"things": [[1, "red", "apple"]], "weather": None, "time": None}
    assert picture_score(PictureReading((APPLE,), "rain", "night"), paper)["right"] == 0
    assert picture_score(PictureReading((APPLE,), None, None), paper)["right"] == 1


def test_an_empty_picture_has_nothing_right() -> None:
    assert set(picture_score(PictureReading((), None, None), RAIN).values()) == {0.0}


def test_places_are_asked_by_thing() -> None:
    reading = PictureReading((APPLE, CUP), None, None)
    facts = {"places": [["bottom left", "red", "apple"], ["top", "blue", "cup"]]}
    assert picture_score(reading, facts)["place"] == 0.5
