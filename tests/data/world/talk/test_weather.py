import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, Spoken, lexicon, make_talk, remarks
from sensorium.data.world.talk.majority import Claims
from sensorium.data.world.talk.weather import reply


def drawn(language, split="train", n=1500):
    return [make_talk("weather", np.random.default_rng([2, i]), language=language, split=split) for i in range(n)]


def stance_of(seen, heard, read):
    """The table, told another way: what each row of claims makes of the remarks."""
    claims = [claim for claim in (seen, heard, read) if claim]
    if len(claims) == 1:
        return "none", claims[0]
    for believed in claims:
        if claims.count(believed) > len(claims) / 2:
            right = heard in (None, believed) and read in (None, believed)
            return ("confirm" if right else "correct"), believed
    return "doubt", None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_answers_follow_the_table(language, split):
    stances = set()
    for talk in drawn(language, split):
        facts = talk.facts
        stance, believed = stance_of(facts["seen"], facts["heard"], facts["read"])
        assert (facts["stance"], facts["weather"]) == (stance, believed)
        doubt, _, concluded = talk.answer.rpartition({"en": ": ", "zh": "："}[language])
        assert bool(doubt) == (facts["case"] == "contradict" and stance != "doubt")
        said = lexicon.attributes(concluded, language)
        if stance == "doubt":
            claimed = {facts[sense] for sense in ("seen", "heard", "read")} - {None}
            assert said == {f"weather:{weather}" for weather in claimed}
        else:
            assert said == lexicon.truth(facts), talk.answer
            assert concluded.lower().startswith(("yes, ", "是的，")) == (stance == "confirm")
            assert concluded.lower().startswith(("no, ", "不，")) == (stance == "correct")
        stances.add((stance, len({facts["seen"], facts["heard"], facts["read"]} - {None})))
    assert stances == {("none", 1), ("confirm", 1), ("confirm", 2), ("correct", 2), ("doubt", 2), ("doubt", 3)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_facts_are_what_is_shown_and_said(language):
    for talk in drawn(language):
        facts, parts = talk.facts, talk.turns[0].parts
        scenes = [part.scene for part in parts if isinstance(part, Seen)]
        voices = [part.text for part in parts if isinstance(part, Spoken)]
        texts = [part for part in parts if isinstance(part, str)]
        assert [scene.weather for scene in scenes] == [facts["seen"]] * len(scenes)
        if facts["time"]:
            assert facts["time"] == scenes[0].time
        for sense, words in (("heard", voices), ("read", texts)):
            claimed = {name for text in words for name in lexicon.attributes(text, language) if "weather" in name}
            assert claimed == ({f"weather:{facts[sense]}"} if facts[sense] else set()), words
        assert parts


def test_the_talk_that_the_design_is_known_by():
    claims = Claims(seen="sunny", heard="sunny")
    assert reply(claims, "day", "zh", advice=False) == "是的，今天天气很好，阳光明媚。"
    assert "{now}天气很好。" in remarks.REMARKS["sunny"].of("zh", "train")
    assert "{now}天气怎么样？" in remarks.HOW.of("zh", "train")
    answers = {
        talk.answer
        for talk in drawn("zh")
        if (talk.facts["seen"], talk.facts["heard"], talk.facts["read"]) == ("sunny", "sunny", None)
        and talk.facts["time"] == "day"
        and not talk.facts["advice"]
    }
    assert answers == {"是的，今天天气很好，阳光明媚。"}


@pytest.mark.parametrize(
    ("claims", "time", "advice", "english", "chinese"),
    [
        (
            Claims(seen="rain"),
            "night",
            False,
            "It is raining tonight, take an umbrella.",
            "今晚在下雨，记得带伞。",
        ),
        (Claims(heard="snow"), None, True, "It is snowing, dress warmly.", "在下雪，多穿衣服。"),
        (
            Claims("sunny", "storm", "sunny"),
            "day",
            True,
            "I see a clear sky, hear a storm and read a clear sky too: "
            "no, it is sunny today, bright and warm, good for a walk.",
            "我看到晴天，听到暴风雨，读到晴天也一样：不，今天天气很好，阳光明媚，适合散步。",
        ),
        (
            Claims("sunny", "rain"),
            "day",
            False,
            "I see a clear sky, but I hear rain.",
            "我看到晴天，但听到下雨。",
        ),
        (
            Claims(None, "snow", "storm"),
            None,
            False,
            "I hear snow, but I read a storm.",
            "我听到下雪，但读到暴风雨。",
        ),
        (
            Claims("snow", "rain", "rain"),  # by night in the picture, which is wrong
            "night",
            False,
            "I see snow, hear rain and read rain too: yes, it is raining, take an umbrella.",
            "我看到下雪，听到下雨，读到下雨也一样：是的，在下雨，记得带伞。",
        ),
        (
            Claims("cloudy", "rain", "snow"),
            None,
            False,
            "I see clouds, hear rain and read snow.",
            "我看到阴天，听到下雨，读到下雪。",
        ),
    ],
)
def test_replies_have_one_form(claims, time, advice, english, chinese):
    assert reply(claims, time, "en", advice=advice) == english
    assert reply(claims, time, "zh", advice=advice) == chinese


@pytest.mark.parametrize(
    ("claims", "majority", "case"),
    [
        (Claims("a", "a", "a"), "a", "agree"),
        (Claims("a", "b", "a"), "a", "contradict"),
        (Claims("a", "b", "b"), "b", "contradict"),
        (Claims("a", "b", "c"), None, "contradict"),
        (Claims("a", None, "b"), None, "contradict"),
        (Claims(None, "a", "a"), "a", "miss"),
        (Claims(read="a"), "a", "miss"),
        (Claims(), None, "miss"),
    ],
)
def test_majorities(claims, majority, case):
    assert claims.majority == majority
    assert claims.case == case
