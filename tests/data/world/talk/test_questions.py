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


@pytest.mark.parametrize("seed", range(200))
def test_relations_hold_by_the_centres(seed):
    question = ask("relation", seed)
    if question is None:
        return
    cup, key = SCENE.things[2].centre, SCENE.things[3].centre
    first, words = sorted((question.text.find(name), name) for name in ("cup", "key"))[0][1], question.text
    x, y = (cup[0] - key[0], cup[1] - key[1]) if first == "cup" else (key[0] - cup[0], key[1] - cup[1])
    truth = {"left of": x < 0, "right of": x > 0, "above": y < 0, "below": y > 0}
    (relation,) = (name for name in truth if name in words)
    fact, _, answer = question.answer.partition(", so ")
    assert answer == ("yes" if truth[relation] else "no")
    assert relation in fact
    assert (fact.index(first) < fact.index({"cup": "key", "key": "cup"}[first])) == truth[relation]


@pytest.mark.parametrize("seed", range(40))
def test_relations_are_said_in_chinese(seed):
    question = ask("relation", seed, "zh")
    if question is None:
        return
    fact, _, answer = question.answer.partition("，所以")
    stated, asked = (next(word for word in "左右上下" if word in text) for text in (fact, question.text))
    x, y = (SCENE.things[2].centre[axis] - SCENE.things[3].centre[axis] for axis in (0, 1))
    if fact.index("杯子") > fact.index("钥匙"):
        x, y = -x, -y
    assert stated == asked
    assert {"左": x < 0, "右": x > 0, "上": y < 0, "下": y > 0}[stated]
    same = fact.index("杯子") < fact.index("钥匙") if "杯子在" in question.text or "杯子是" in question.text else None
    assert answer in ("是的", "不是")
    assert same is None or (answer == "是的") == same


def test_who_has_more_is_said_after_how_many_there_are():
    assert answers("more") == {
        *("two apples, one cup, so yes", "two apples, one key, so yes"),
        *("one cup, two apples, so no", "one key, two apples, so no"),
    }
    assert answers("more", "zh") == {
        *("两个苹果，一个杯子，所以是的", "两个苹果，一把钥匙，所以是的"),
        *("一个杯子，两个苹果，所以不是", "一把钥匙，两个苹果，所以不是"),
    }


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
        assert len(talk.answer.split()) <= 12
    for sort in ("exist", "relation", "more"):
        assert 0.35 < tally[sort, "yes"] / (tally[sort, "yes"] + tally[sort, "no"]) < 0.65
    for place in PLACES:
        assert tally["where", place]


def test_absent_pairs_are_absent_and_of_training():
    setting = Setting(np.random.default_rng(0), "en", "train")
    present = {("red", "apple"), ("blue", "cup")}
    for _ in range(100):
        assert absent_pair(setting, present) not in present
