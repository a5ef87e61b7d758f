"""How near an answer comes to the truth of a generated scene: its things, its weather, its boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sensorium.data.world.talk import lexicon
from sensorium.data.world.talk.places import read_boxes, read_points

Box = tuple[str, float, float, float, float]  # kind, x0, y0, x1, y1
IOU = 0.5  # of a box that counts as found

_STANCES = {
    "en": {"confirm": re.compile(r"\s*(yes|right|indeed)\b", re.I), "correct": re.compile(r"\s*no\b", re.I)},
    "zh": {"confirm": re.compile(r"\s*(是的|对|没错)"), "correct": re.compile(r"\s*不")},
}
_SENSES = {"en": re.compile(r"\b(see|hear|read)\b", re.I), "zh": re.compile("(看|听|读)到")}
_SENSE_NAMES = {"看": "see", "听": "hear", "读": "read"}


def attribute_f1(answer: str, reference: str, language: str, facts: Mapping[str, Any]) -> float:
    """F1 of what an answer says of a scene: counted things of a colour, weather and time of day.

    An attribute counts whole: "two red apples" are not there where one is. The truth is that of the facts where they
    hold it, else what the reference says.
    """
    found = lexicon.attributes(answer, language)
    true = lexicon.truth(facts) or lexicon.attributes(reference, language)
    if not found or not true:
        return float(found == true)
    return 2 * len(found & true) / (len(found) + len(true))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an answer says of the weather: all that `same_weather` compares.

    `stance` is "none", "confirm" (concludes with yes), "correct" (concludes with no) or "doubt". In doubt `claims`
    holds which sense gave which weather, and nothing else counts.
    """

    stance: str
    weather: frozenset[str] = frozenset()
    time: frozenset[str] = frozenset()
    claims: Mapping[str, frozenset[str]] = field(default_factory=dict)


def read_forecast(text: str, language: str) -> Forecast:
    """The weather, time of day and stance of an answer, however it is worded; advice is left aside.

    Behind what the senses claim a weather that follows a colon is what counts: "I see rain, hear ...: no, it is ...".
    """
    *claimed, concluded = re.split("[:：]", text)
    if len(_claims(" ".join(claimed), language)) > 1 and _said(concluded, language, "weather"):
        text = concluded
    claims = _claims(text, language)
    if len(set(claims.values())) > 1:
        return Forecast("doubt", claims=claims)
    stance = next((name for name, begins in _STANCES[language].items() if begins.match(text)), "none")
    return Forecast(stance, _said(text, language, "weather"), _said(text, language, "time"))


def _claims(text: str, language: str) -> dict[str, frozenset[str]]:
    """Which sense gives which weather."""
    pieces = _SENSES[language].split(text)
    return {
        _SENSE_NAMES.get(sense, sense.lower()): weather
        for sense, words in zip(pieces[1::2], pieces[2::2], strict=True)
        if (weather := _said(words, language, "weather"))
    }


def same_weather(answer: str, reference: str, language: str) -> float:
    """1 when weather, time of day and stance of the two are the same, else 0; the wording is free."""
    return float(read_forecast(answer, language) == read_forecast(reference, language))


def boxes_found(answer: str, facts: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many boxes of an answer are right (see `matched`), how many it gives, and how many there are."""
    given, true = read_boxes(answer), [(kind, *corners) for kind, *corners in facts["boxes"]]
    return matched(given, true), len(given), len(true)


def points_at(answer: str, facts: Mapping[str, Any]) -> float:
    """1 when an answer is one point that lies in the thing's box, and names its kind, else 0."""
    found = read_points(answer)
    if len(found) != 1 or found[0][0] != facts["kind"]:
        return 0.0
    (_, x, y), (x0, y0, x1, y1) = found[0], facts["box"]
    return float(x0 <= x <= x1 and y0 <= y <= y1)


def matched(given: Sequence[Box], true: Sequence[Box]) -> int:
    """The most pairs of a given and a true box of the same kind whose IoU is at least `IOU`, each used once."""
    near = [
        [at for at, other in enumerate(true) if other[0] == box[0] and overlap(box[1:], other[1:]) >= IOU]
        for box in given
    ]
    taken: dict[int, int] = {}  # true box: the given one it belongs to

    def place(index: int, tried: set[int]) -> bool:
        """Kuhn's augmenting path: give the box a free partner, or one whose owner finds another."""
        for at in near[index]:
            if at not in tried:
                tried.add(at)
                if at not in taken or place(taken[at], tried):
                    taken[at] = index
                    return True
        return False

    return sum(place(index, set()) for index in range(len(given)))


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 for one that has no area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    if min(width, height, *areas) <= 0:
        return 0.0
    return width * height / (sum(areas) - width * height)


def _said(text: str, language: str, attribute: str) -> frozenset[str]:
    found = lexicon.attributes(text, language)
    return frozenset(each for each in found if each.startswith(f"{attribute}:"))
