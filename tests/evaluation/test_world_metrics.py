import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, make_talk
from sensorium.evaluation.examples import Example
from sensorium.evaluation.judging import METRICS
from sensorium.evaluation.world_metrics import (
    Forecast,
    attribute_f1,
    boxes_found,
    matched,
    overlap,
    points_at,
    read_forecast,
    same_weather,
)


def talks(kind: str, n: int = 60):
    return [
        make_talk(kind, np.random.default_rng([7, index]), language=language, split="validation")
        for index in range(n // 2)
        for language in LANGUAGES
    ]


def judged(metric: str, answer: str, reference: str, language: str = "en", facts=None) -> tuple[float, float]:
    return METRICS[metric].judge(answer, Example((), reference, language=language, facts=facts or {}))


# --- captions --------------------------------------------------------------------------------------------------------

FACTS = {"things": [[2, "red", "apple"], [1, "blue", "cup"]], "weather": "rain", "time": "night"}


@pytest.mark.parametrize(
    ("answer", "language", "f1"),
    [
        ("two red apples and a blue cup on a rainy night", "en", 1),
        ("A rainy night: a blue cup, 2 red apples!", "en", 1),
        ("两个红色的苹果和一个蓝色的杯子，下雨的夜晚", "zh", 1),
        ("three red apples and a blue cup on a rainy night", "en", 3 / 4),
        ("two red apples and a blue cup", "en", 4 / 6),  # two of two, two of four
        ("two red apples, a blue cup and a pink key on a rainy night", "en", 8 / 9),
        ("a green dog on a sunny day", "en", 0),
        ("hm", "en", 0),
    ],
)
def test_what_a_caption_says_is_compared_with_the_facts(answer: str, language: str, f1: float) -> None:
    assert attribute_f1(answer, "", language, FACTS) == pytest.approx(f1)


def test_without_facts_the_reference_is_the_truth() -> None:
    assert attribute_f1("one red apple", "a red apple", "en", {}) == 1
    assert attribute_f1("nothing", "who knows", "en", {}) == 1


def test_every_true_caption_is_right() -> None:
    for talk in talks("caption"):
        assert attribute_f1(talk.answer, talk.answer, talk.language, talk.facts) == 1


# --- weather ---------------------------------------------------------------------------------------------------------


def test_the_stance_weather_and_time_of_every_true_answer_are_read() -> None:
    stances = set()
    for talk in talks("weather", 300):
        read = read_forecast(talk.answer, talk.language)
        stances.add(read.stance)
        assert read.stance == talk.facts["stance"]
        if read.stance == "doubt":
            senses = {"see": "seen", "hear": "heard", "read": "read"}
            told = {senses[verb]: weather for verb, weather in read.claims.items()}
            given = {name: {f"weather:{talk.facts[name]}"} for name in senses.values() if talk.facts[name]}
            assert told == given
        else:
            assert read.weather == {f"weather:{talk.facts['weather']}"}
            assert read.time == ({f"time:{talk.facts['time']}"} if talk.facts["time"] else set())
    assert stances == {"none", "confirm", "correct", "doubt"}


@pytest.mark.parametrize(
    ("answer", "reference", "language", "right"),
    [
        ("Yes, rain today!", "Yes, it is raining today, take an umbrella.", "en", 1),
        ("It is raining today, take an umbrella.", "Yes, it is raining today, take an umbrella.", "en", 0),
        ("No, it is raining today.", "Yes, it is raining today, take an umbrella.", "en", 0),
        ("Yes, it is snowing today.", "Yes, it is raining today, take an umbrella.", "en", 0),
        ("Yes, it is raining tonight.", "Yes, it is raining today, take an umbrella.", "en", 0),
        ("Yes, it is raining.", "Yes, it is raining today, take an umbrella.", "en", 0),
        ("Yes, rain today, or snow.", "Yes, it is raining today, take an umbrella.", "en", 0),
        ("是的，今天天气很好。", "是的，今天天气很好，阳光明媚。", "zh", 1),
        ("今天天气很好，阳光明媚。", "是的，今天天气很好，阳光明媚。", "zh", 0),
        ("不，今晚在下雪。", "不，今晚在下雪，多穿衣服。", "zh", 1),
        ("今天有暴风雨", "今天在下雨，记得带伞。", "zh", 0),
        ("I hear rain, but I see a storm.", "I see a storm, but I hear rain.", "en", 1),
        ("I see rain, but I hear a storm.", "I see a storm, but I hear rain.", "en", 0),
        ("It is stormy.", "I see a storm, but I hear rain.", "en", 0),
        ("我看到晴天，但听到下雪。", "我看到晴天，但听到下雪。", "zh", 1),
        ("我看到晴天，但读到下雪。", "我看到晴天，但听到下雪。", "zh", 0),
        ("", "It is raining, take an umbrella.", "en", 0),
        ("I see rain, hear snow and read rain: no, it is raining today.", "No, it is raining today.", "en", 1),
        ("I see rain, hear snow and read rain: yes, it is raining today.", "No, it is raining today.", "en", 0),
        ("I see rain, hear snow and read rain: no, it is snowing today.", "No, it is raining today.", "en", 0),
        ("I see rain, hear snow and read rain.", "No, it is raining today.", "en", 0),
        ("我看到下雨，听到下雪，读到下雨：不，今天在下雨。", "不，今天在下雨，记得带伞。", "zh", 1),
        ("Yes, it is raining today: take an umbrella.", "Yes, it is raining today.", "en", 1),
        ("Yes: it is raining today.", "Yes, it is raining today.", "en", 1),
        ("I see rain, but I hear a storm: I cannot tell.", "I see rain, but I hear a storm.", "en", 1),
    ],
)
def test_a_forecast_is_right_by_what_it_says(answer: str, reference: str, language: str, right: int) -> None:
    assert same_weather(answer, reference, language) == right
    assert judged("weather", answer, reference, language) == (right, 1)


def test_seeing_alone_is_no_doubt() -> None:
    assert read_forecast("I see rain.", "en") == Forecast("none", frozenset({"weather:rain"}))


# --- boxes -----------------------------------------------------------------------------------------------------------


def test_overlap_of_boxes_by_hand() -> None:
    box = (0.0, 0.0, 0.4, 0.4)
    assert overlap(box, box) == 1
    assert overlap(box, (0.2, 0.0, 0.6, 0.4)) == pytest.approx(0.08 / 0.24)
    assert overlap(box, (0.0, 0.0, 0.4, 0.2)) == pytest.approx(0.5)
    assert overlap(box, (0.4, 0.0, 0.8, 0.4)) == 0
    assert overlap(box, (0.6, 0.6, 0.8, 0.8)) == 0
    assert overlap(box, (0.4, 0.4, 0.0, 0.0)) == 0  # turned inside out
    assert overlap((0.1, 0.1, 0.1, 0.1), (0.1, 0.1, 0.1, 0.1)) == 0


def test_boxes_are_matched_one_to_one_as_well_as_they_can_be() -> None:
    near_both, near_one = ("cat", 0.0, 0.0, 0.4, 0.4), ("cat", 0.05, 0.0, 0.45, 0.4)
    true = [("cat", 0.0, 0.0, 0.3, 0.4), ("cat", 0.1, 0.0, 0.5, 0.4)]
    # The first reaches both, the second only the other true one: taken greedily one would be lost.
    assert overlap(near_both[1:], true[0][1:]) >= 0.5
    assert overlap(near_both[1:], true[1][1:]) >= 0.5
    assert matched([near_both, near_one], true) == 2
    assert matched([near_one, near_both], true) == 2
    assert matched([near_both, near_both, near_both], true) == 2
    assert matched([near_both], [("dog", *near_both[1:])]) == 0
    assert matched([], true) == 0


BOXES = [["apple", 0.1, 0.1, 0.4, 0.4], ["cup", 0.5, 0.5, 0.9, 0.9]]
APPLE, CUP = "apple<loc06><loc06><loc25><loc25>", "cup<loc32><loc32><loc57><loc57>"


@pytest.mark.parametrize(
    ("answer", "found", "right", "f1"),
    [
        (f"{APPLE}; {CUP}", (2, 2, 2), 1, 1),
        (f"{CUP}; {APPLE}", (2, 2, 2), 1, 1),
        ("苹果<loc06><loc06><loc25><loc25>; 杯子<loc32><loc32><loc57><loc57>", (2, 2, 2), 1, 1),
        (APPLE, (1, 1, 2), 0, 2 / 3),
        (f"{APPLE}; {CUP}; {CUP}", (2, 3, 2), 0, 4 / 5),
        (f"{APPLE}; key<loc32><loc32><loc57><loc57>", (1, 2, 2), 0, 1 / 2),
        ("apple<loc06><loc06><loc25><loc14>; " + CUP, (1, 2, 2), 0, 1 / 2),
        ("none", (0, 0, 2), 0, 0),
        ("apple<loc06><loc06><loc25>", (0, 0, 2), 0, 0),
    ],
)
def test_an_answer_finds_all_boxes_or_is_wrong(
    answer: str, found: tuple[int, int, int], right: float, f1: float
) -> None:
    assert boxes_found(answer, {"boxes": BOXES}) == found
    assert judged("box_iou", answer, "", facts={"boxes": BOXES}) == (right, 1)
    ((name, judge),) = METRICS["box_iou"].also
    assert name == "f1"
    assert judge(answer, Example((), "", facts={"boxes": BOXES}))[0] == pytest.approx(f1)


@pytest.mark.parametrize(("answer", "right"), [("None.", 1), (APPLE, 0), ("", 0), ("hm", 0)])
def test_where_nothing_is_to_be_found_the_answer_says_so(answer: str, right: float) -> None:
    assert judged("box_iou", answer, "none", facts={"boxes": []}) == (right, 1)
    assert METRICS["box_iou"].also[0][1](answer, Example((), "none", facts={"boxes": []})) == (right, 1)


def test_every_true_answer_finds_its_boxes_through_the_tokens() -> None:
    empty = 0
    for talk in talks("detect", 120):
        empty += not talk.facts["boxes"]
        assert judged("box_iou", talk.answer, talk.answer, facts=talk.facts) == (1, 1)
    assert empty


def test_a_point_lies_in_the_box_of_its_thing() -> None:
    facts = {"kind": "hat", "box": [0.1, 0.5, 0.3, 0.8]}
    assert points_at("hat<loc12><loc40>", facts) == 1
    assert points_at("帽子<loc12><loc40>", facts) == 1
    assert points_at("cup<loc12><loc40>", facts) == 0
    assert points_at("hat<loc30><loc40>", facts) == 0
    assert points_at("hat<loc12><loc40>; hat<loc13><loc40>", facts) == 0
    assert points_at("hat<loc12><loc40><loc13><loc41>", facts) == 0
    assert points_at("over there", facts) == 0
    for talk in talks("point"):
        assert judged("point_in_box", talk.answer, talk.answer, facts=talk.facts) == (1, 1)


# --- the other judges ------------------------------------------------------------------------------------------------


def test_errors_are_counted_in_words_or_in_chinese_in_characters() -> None:
    assert judged("error_rate", "the cat sits", "The cat sat.") == (1, 3)
    assert judged("error_rate", "猫坐下", "猫坐着。", "zh") == (1, 3)
    assert judged("word_error_rate", "猫坐下", "猫坐着。", "zh") == (1, 1)
    assert judged("character_error_rate", "cat", "cut") == (1, 3)
    assert judged("exact_match", "3 7", "3 7") == (1, 1)
    assert judged("token_f1", "red cup", "a red hat") == (0.5, 1)
    lower = {name for name, metric in METRICS.items() if metric.lower_is_better}
    assert lower == {"error_rate", "word_error_rate", "character_error_rate"}
