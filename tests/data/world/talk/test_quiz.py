"""Many questions about one picture."""

import re
from collections import Counter

import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, Spoken, lexicon, make_talk
from sensorium.data.world.talk.majority import Claims
from sensorium.data.world.talk.refusals import is_refusal
from sensorium.data.world.things import COLOURS, KINDS, PLACES

WORDS = {
    "en": {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)},
    "zh": {"左边": (0, -1), "右边": (0, 1), "上面": (1, -1), "下面": (1, 1)},
}
YES_NO = {"en": {"yes", "no"}, "zh": {"是的", "不是", "有", "没有"}}


def drawn(kind, language, n=200):
    return [make_talk(kind, np.random.default_rng([31, i]), language=language, split="train") for i in range(n)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_verified_is_mostly_yes_or_no_and_as_often_one_as_the_other(language):
    said, asked = [], 0
    for talk in drawn("verify", language, n=600):
        answers = [turn.text for turn in talk.turns[1::2]]
        assert answers == [answer for _, answer in talk.facts["answers"]]
        assert 1 <= len(answers) <= 16
        asked += len(answers)
        concluded = [(sort, re.split(", so |，所以", answer)[-1]) for sort, answer in talk.facts["answers"]]
        said += [(sort, answer) for sort, answer in concluded if answer in YES_NO[language]]
    assert len(said) > 0.5 * asked
    for sort in ("relation", "exist", "more"):
        own = [answer for which, answer in said if which == sort]
        assert len(own) > 50
        affirmed = sum(answer in ("yes", "是的", "有") for answer in own)
        assert 0.4 * len(own) < affirmed < 0.6 * len(own)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_asked_of_what_is_not_there_is_refused(language):
    refused, beside = 0, Counter()
    for talk in drawn("verify", language):
        (scene,) = (part.scene for part in talk.turns[0].parts if isinstance(part, Seen))
        there = {lexicon.noun(thing.kind, language) for thing in scene.things}
        for question, (sort, answer) in zip(talk.turns[::2], talk.facts["answers"], strict=True):
            assert is_refusal(answer) == (sort == "absent")
            if sort == "absent":
                refused += 1
                if any(word in question.text for word in WORDS[language]):
                    absent = re.fullmatch("I see no (.+)[.]|我没有看到(.+)。", answer)
                    name = absent[1] or absent[2]
                    other = next(noun for noun in there if re.search(rf"(?<![a-z]){noun}(?![a-z])", question.text))
                    beside[question.text.index(f" {name}" if absent[1] else name) < question.text.index(other)] += 1
                assert not any(
                    answer.rstrip(".。").endswith((" " if language == "en" else "") + name) for name in there
                )
    assert refused > 200
    assert beside.total() > 0.2 * refused  # how it stands to what is there
    assert min(beside.values()) > 0.3 * beside.total()


PLACED = {"en": "({names}) ({places})(?! of)", "zh": "({names})在({places})"}
STAND = {
    "en": "({names}) ({words}) ({names}), asked (left|right|above|below), so (yes|no)",
    "zh": "({names})在({names})({words})，问的是({words})，所以(是的|不是)",
}


def one_of(words):
    return "|".join(sorted(words, key=len, reverse=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_asked_of_what_was_told_in_words_follows_from_the_words(language):
    nouns = [lexicon.noun(kind, language) for kind in KINDS]
    thirds = {lexicon.place_word(place, language): divmod(index, 3)[::-1] for index, place in enumerate(PLACES)}
    names = one_of([*nouns, *(lexicon.coloured(colour, kind, language) for colour in COLOURS for kind in KINDS)])
    placed = re.compile(PLACED[language].format(names=names, places=one_of(thirds)))
    stand = re.compile(STAND[language].format(names=names, words=one_of(WORDS[language])))

    def bare(name):
        return next(noun for noun in nouns if name.endswith(noun))

    asked = Counter()
    for talk in drawn("told", language):
        assert not any(isinstance(part, Seen) for turn in talk.turns for part in turn.parts)
        at = {bare(name): thirds[place] for name, place in placed.findall(talk.turns[0].text.lower())}
        assert len(at) >= 2
        for question, (sort, answer) in zip(talk.turns[::2], talk.facts["answers"], strict=True):
            if sort == "where":
                assert thirds[answer] in at.values()
                asked[sort] += 1
                continue
            facts, conclusion = re.split(": |：", answer)
            assert len(placed.findall(facts)) == 2
            assert all(at[bare(name)] == thirds[place] for name, place in placed.findall(facts))
            *found, asked_for, so = stand.fullmatch(conclusion).groups()
            (word,) = (part for part in found if part in WORDS[language])
            one, other = (at[bare(part)] for part in found if part != word)
            axis, sign = WORDS[language][word]
            assert sign * (one[axis] - other[axis]) > 0
            asked[so] += 1
            assert word.startswith(asked_for) == (so in ("yes", "是的"))
            if question is not talk.turns[0]:  # whose words also tell what is where
                assert next(word for word in WORDS[language] if word in question.text).startswith(asked_for)
    assert min(asked.values()) > 200
    assert len(asked) == 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_about_a_picture_are_not_asked_twice(language):
    for kind in ("quiz", "verify", "told", "remarked"):
        for talk in drawn(kind, language, n=60):
            questions = [turn.text for turn in talk.turns[::2]]
            assert len(set(questions)) == len(questions)


def claimed(text, language):
    """What a text claims: a thing, a weather or a digit."""
    attributes = sorted(lexicon.attributes(text, language))
    values = [each for each in attributes if each.startswith(("1 ", "weather:"))]
    if values:
        return values[0]
    words = re.sub("一定|一个词|一样|one word", "", text.lower())
    digits = [n for n in range(10) if re.search(rf"(?<![a-z]){lexicon.number(n, language)}(?![a-z])", words)]
    return f"digit {digits[0]}" if digits else None


def shown(scene):
    if scene.digits:
        return f"digit {scene.digits[0]}"
    if scene.weather:
        return f"weather:{scene.weather}"
    return f"1 {scene.things[0].colour} {scene.things[0].kind}"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_each_remark_is_weighed_against_what_is_shown_and_said(language, split):
    outcomes, stated = Counter(), Counter()
    for index in range(200):
        talk = make_talk("remarked", np.random.default_rng([32, index]), language=language, split=split)
        about = [part for part in talk.turns[0].parts if not isinstance(part, str)]
        seen = [shown(part.scene) for part in about if isinstance(part, Seen)]
        heard = [claimed(part.text, language) for part in about if isinstance(part, Spoken)]
        assert len(seen) <= 1 >= len(heard)
        assert seen or heard
        assert 5 <= len(talk.turns) // 2 <= 6
        for asked, answered, (case, answer) in zip(
            talk.turns[::2], talk.turns[1::2], talk.facts["answers"], strict=True
        ):
            claims = Claims(*(seen or [None]), *(heard or [None]), claimed(asked.text, language))
            assert answered.text == answer
            assert case == claims.case
            *facts, conclusion = re.split("[:：]", answer)
            assert bool(facts or answer.startswith(("I ", "我"))) == (case == "contradict")
            if case == "contradict":
                clauses = re.split(", | and |，", (facts or [answer])[0])
                assert [claimed(clause, language) for clause in clauses] == list(claims.present.values())
                assert bool(facts) == (claims.majority is not None)
            if claims.majority is not None:
                assert claimed(conclusion, language) == claims.majority
            outcomes[case, claims.majority is None] += 1
        stated[len(seen), len(heard)] += 1
    assert set(outcomes) == {("agree", False), ("miss", False), ("contradict", False), ("contradict", True)}
    assert min(outcomes.values()) > 40
    assert set(stated) == {(1, 1), (1, 0), (0, 1)}
