"""What each metric makes of an answer: how much of how much is right, or wrong where less is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sensorium.data.world.talk.refusals import is_refusal
from sensorium.evaluation import metrics, world_metrics
from sensorium.evaluation.examples import Example

# Numerator and denominator: the score of many answers is the ratio of their sums.
Share = tuple[float, float]
Judge = Callable[[str, Example], Share]


@dataclass(frozen=True, slots=True)
class Metric:
    """How answers are judged.

    `lower_is_better` where the score counts errors. `proportion` where every share is 0 or 1 out of 1, so that the
    exact interval of a proportion holds. `also` are further scores of the same answers, by name.
    """

    judge: Judge
    lower_is_better: bool = False
    proportion: bool = False
    also: tuple[tuple[str, Judge], ...] = ()


def _exact_match(answer: str, example: Example) -> Share:
    return metrics.exact_match(answer, example.reference), 1


def _token_f1(answer: str, example: Example) -> Share:
    return metrics.token_f1(answer, example.reference), 1


def _word_error_rate(answer: str, example: Example) -> Share:
    return metrics.word_errors(answer, example.reference)


def _character_error_rate(answer: str, example: Example) -> Share:
    return metrics.character_errors(answer, example.reference)


def _error_rate(answer: str, example: Example) -> Share:
    """Errors in words, in Chinese in characters."""
    errors = metrics.character_errors if example.language == "zh" else metrics.word_errors
    return errors(answer, example.reference)


def _attribute_f1(answer: str, example: Example) -> Share:
    return world_metrics.attribute_f1(answer, example.reference, example.language, example.facts), 1


def _weather(answer: str, example: Example) -> Share:
    return world_metrics.same_weather(answer, example.reference, example.language), 1


def _box_iou(answer: str, example: Example) -> Share:
    """Each true box found, none left over. Where there is none to find, the answer must say so."""
    right, given, true = world_metrics.boxes_found(answer, example.facts)
    if not true:
        return metrics.exact_match(answer, example.reference), 1
    return float(right == given == true), 1


def _box_f1(answer: str, example: Example) -> Share:
    right, given, true = world_metrics.boxes_found(answer, example.facts)
    if not true:
        return metrics.exact_match(answer, example.reference), 1
    return 2 * right / (given + true), 1


def _point_in_box(answer: str, example: Example) -> Share:
    return world_metrics.points_at(answer, example.facts), 1


def _false_refusal(answer: str, example: Example) -> Share:
    """Of what the generated world can be asked, the share that the model says it cannot answer."""
    asked = bool(example.facts) and not is_refusal(example.reference)
    return float(asked and is_refusal(answer)), float(asked)


METRICS: dict[str, Metric] = {
    "exact_match": Metric(_exact_match, proportion=True, also=(("false_refusals", _false_refusal),)),
    "token_f1": Metric(_token_f1),
    "attribute_f1": Metric(_attribute_f1),
    "weather": Metric(_weather, proportion=True),
    "error_rate": Metric(_error_rate, lower_is_better=True),
    "word_error_rate": Metric(_word_error_rate, lower_is_better=True),
    "character_error_rate": Metric(_character_error_rate, lower_is_better=True),
    "box_iou": Metric(_box_iou, proportion=True, also=(("f1", _box_f1),)),
    "point_in_box": Metric(_point_in_box, proportion=True),
}
