import re
from collections import Counter

import numpy as np
import pytest

from sensorium.data.world import Scene, Thing
from sensorium.data.world.talk import LANGUAGES, Seen, lexicon, make_talk
from sensorium.data.world.talk.questions import ASKED, absent_pair, questions_about
from sensorium.data.world.talk.setting import Setting
from sensorium.data.world.things import COLOURS, KINDS, PLACES

SORTS = {
    "what",
    "colour",
    "count",
    "exist",
    "where",
    "relation",
    "beside",
    "compare",
    "more",
    "size",
    "weather",
    "time",
}


def thing(colour, kind, x, y, size="small"):
    return Thing(kind, colour, size, (x - 0.1, y - 0.1, x + 0.1, y + 0.1), 0.0, "plain", 0)


SCENE = Scene(
    things=(
        thing("red", "apple", 0.2, 0.2),
        thing("red", "apple", 0.5, 0.2),
        thing("blue", "cup", 0.8, 0.8, "large"),
        thing("green", "key", 0.2, 0.8),
    ),
    weather=None,
    time=None,
    digits=(),
    background="white",
    seed=1,
)


def ask(sort, seed, language="en", scene=SCENE):
    return ASKED[sort][1](Setting(np.random.default_rng(seed), language, "train"), scene)


def answers(sort, language="en", n=300):
    found = (ask(sort, seed, language) for seed in range(n))
    return {question.answer for question in found if question is not None}


def test_every_sort_is_asked():
    assert set(ASKED) == SORTS


@pytest.mark.parametrize(
    ("sort", "english", "chinese"),
    [
        ("what", {"apple", "cup", "key"}, {"苹果", "杯子", "钥匙"}),
        ("colour", {"red", "blue", "green"}, {"红色", "蓝色", "绿色"}),
        ("count", {"one", "two", "four"}, {"一个", "一把", "两个", "四个"}),
        ("exist", {"yes", "no"}, {"有", "没有"}),
        ("where", {"bottom left", "bottom right"}, {"左下", "右下"}),
        ("compare", {"cup", "key"}, {"杯子", "钥匙"}),
        ("size", {"small", "large"}, {"小", "大"}),
    ],
)
def test_answers_are_those_of_the_scene(sort, english, chinese):
    assert answers(sort) == english
    assert answers(sort, "zh") == chinese


def test_a_scene_without_sky_or_things_answers_nothing_of_them():
    assert answers("weather") == answers("time") == set()
    sky = Scene((), "rain", "night", (), "meadow", 1)
    setting = Setting(np.random.default_rng(0), "en", "train")
    found = questions_about(setting, sky, 12)
    assert {(question.sort, question.answer) for question in found} == {("weather", "rain"), ("time", "night")}


RELATIONS = {  # words: axis, sign
    "en": {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)},
    "zh": {"左边": (0, -1), "右边": (0, 1), "上面": (1, -1), "下面": (1, 1)},
}
SO = {"en": (", ", ", so ", ("no", "yes")), "zh": ("，", "，所以", ("不是", "是的"))}


@pytest.mark.parametrize("language", LANGUAGES)
def test_relations_follow_from_where_both_stand(language):
    between, so, no_or_yes = SO[language]
    found = Counter()
    for index in range(400):
        setting = Setting(np.random.default_rng([4, index]), language, "train")
        scene = ASKED["relation"][0](setting)
        question = ASKED["relation"][1](setting, scene)
        if question is None:
            continue
        relation = next(word for word in RELATIONS[language] if word in question.text)
        names = {lexicon.noun(thing.kind, language): thing for thing in scene.things}
        one, other = sorted(names, key=question.text.lower().index)
        if f"的{relation}是" in question.text:  # "is it the cup that is left of the key?"
            one, other = other, one
        facts, _, conclusion = question.answer.partition(so)
        places, stands = re.split(": |：", facts)
        for name, part in zip((one, other), places.split(between), strict=True):
            assert name in part
            assert part.endswith(lexicon.place_word(names[name].place, language))
        axis, sign = RELATIONS[language][relation]
        first, second = names[one], names[other]
        assert first.third(axis) != second.third(axis)
        assert abs(offset := sign * (first.centre[axis] - second.centre[axis])) > 0.15
        assert conclusion == no_or_yes[offset > 0]
        stands, asked = re.split(", asked |，问的是", stands)
        assert asked == relation.removesuffix(" of")
        (true,) = (word for word in RELATIONS[language] if word in stands)
        assert stands.index(one) < stands.index(other)
        true_axis, true_sign = RELATIONS[language][true]
        assert true_axis == axis
        assert true_sign * (first.centre[axis] - second.centre[axis]) > 0.15
        found[relation, conclusion] += 1
    assert len(found) == 8
    assert min(found.values()) > 10


def test_who_has_more_is_said_after_how_many_there_are():
    found = {answer for answer in answers("more") if "no " not in answer}
    assert found == {
        *("two apples, one cup, so yes", "two apples, one key, so yes"),
        *("one cup, two apples, so no", "one key, two apples, so no"),
        *("one cup, one key, so no", "one key, one cup, so no"),
    }
    found = {answer for answer in answers("more", "zh") if "没有" not in answer}
    assert found == {
        *("两个苹果，一个杯子，所以是的", "两个苹果，一把钥匙，所以是的"),
        *("一个杯子，两个苹果，所以不是", "一把钥匙，两个苹果，所以不是"),
        *("一个杯子，一把钥匙，所以不是", "一把钥匙，一个杯子，所以不是"),
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_there_is_less(language):
    between, so, no_or_yes = SO[language]
    counts = Counter(thing.kind for thing in SCENE.things)
    there = {lexicon.many(count, kind, language) for kind, count in counts.items()}
    absent = {lexicon.many(0, kind, language) for kind in KINDS if kind not in counts}
    found = set()
    for answer in answers("more", language):
        fact, _, conclusion = answer.partition(so)
        one, other = fact.split(between)
        if {one, other} <= there:
            continue
        assert {one, other} <= there | absent
        assert conclusion == no_or_yes[one in there]
        found.add((one in there, other in there))
    assert found == {(True, False), (False, True), (False, False)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_counts_are_of_what_is_named(language):
    for index in range(800):
        talk = make_talk("vqa", np.random.default_rng([8, index]), language=language, split="train")
        if talk.facts["question"] != "count":
            continue
        (scene,) = (part.scene for part in talk.turns[0].parts if isinstance(part, Seen))
        text = talk.turns[0].text
        counts = Counter((other.colour, other.kind) for other in scene.things)
        kinds = [kind for kind in KINDS if lexicon.noun(kind, language, 2) in text]
        colours = [colour for colour in COLOURS if lexicon.colour_word(colour, language) in text]
        named = [
            n for (colour, kind), n in counts.items() if kind in (kinds or KINDS) and colour in (colours or COLOURS)
        ]
        assert talk.answer.startswith(lexicon.amount(sum(named), language)[: 2 if language == "en" else 1]), text


@pytest.mark.parametrize("split", ["train", "validation"])
def test_answers_of_two_kinds_are_balanced(split):
    tally = Counter()
    for index in range(1500):
        talk = make_talk("vqa", np.random.default_rng([1, index]), language="en", split=split)
        tally[talk.facts["question"], talk.answer.rpartition("so ")[2]] += 1
        assert talk.facts["answer"] == talk.answer
        assert len(talk.answer.split()) <= 18
    for sort in ("exist", "relation", "more"):
        assert 0.35 < tally[sort, "yes"] / (tally[sort, "yes"] + tally[sort, "no"]) < 0.65
    for place in PLACES:
        assert tally["where", place]


def test_absent_pairs_are_absent_and_of_training():
    setting = Setting(np.random.default_rng(0), "en", "train")
    present = {("red", "apple"), ("blue", "cup")}
    for _ in range(100):
        assert absent_pair(setting, present) not in present
