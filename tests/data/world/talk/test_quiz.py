"""Many questions about one picture."""

import re
from collections import Counter

import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, Spoken, lexicon, make_talk
from sensorium.data.world.talk.refusals import is_refusal
from sensorium.data.world.things import COLOURS, KINDS, PLACES

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
    refused, beside = 0, 0
    for talk in drawn("verify", language):
        (scene,) = (part.scene for part in talk.turns[0].parts if isinstance(part, Seen))
        there = {lexicon.noun(thing.kind, language) for thing in scene.things}
        for question, (sort, answer) in zip(talk.turns[::2], talk.facts["answers"], strict=True):
            assert is_refusal(answer) == (sort == "absent")
            if sort == "absent":
                refused += 1
                beside += any(name in question.text for name in there)
                assert not any(
                    answer.rstrip(".。").endswith((" " if language == "en" else "") + name) for name in there
                )
    assert refused > 200
    assert 0.2 * refused < beside < 0.5 * refused  # how it stands to what is there


PLACED = {"en": "({names}) ({places})(?! of)", "zh": "({names})在({places})"}
STAND = {"en": "({names}) ({words}) ({names}), so (yes|no)", "zh": "({names})在({names})({words})，所以(是的|不是)"}
WORDS = {
    "en": {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)},
    "zh": {"左边": (0, -1), "右边": (0, 1), "上面": (1, -1), "下面": (1, 1)},
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
            *found, so = stand.fullmatch(conclusion).groups()
            (word,) = (part for part in found if part in WORDS[language])
            one, other = (at[bare(part)] for part in found if part != word)
            axis, sign = WORDS[language][word]
            assert sign * (one[axis] - other[axis]) > 0
            asked[so] += 1
            if question is not talk.turns[0]:  # whose words also tell what is where
                assert (word in question.text) == (so in ("yes", "是的"))
    assert min(asked.values()) > 200
    assert len(asked) == 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_questions_about_a_picture_are_not_asked_twice(language):
    for kind in ("quiz", "verify", "told"):
        for talk in drawn(kind, language, n=60):
            questions = [turn.text for turn in talk.turns[::2]]
            assert len(set(questions)) == len(questions)


CLAIMED = {
    "en": re.compile(r"I (?:see (.+?))?(?:, |, but I )?(?:hear (.+?))?(?:, but I | and )?(?:read (.+?))?(?:: (.+)|\.)"),
    "zh": re.compile(r"我(?:看到(.+?))?(?:，|，但)?(?:听到(.+?))?(?:，|，但)?(?:读到(.+?))?(?:：(.+)|。)"),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_who_remarks_on_what_is_shown_and_said_is_believed_with_one_of_the_two(language, split):
    outcomes = Counter()
    for index in range(300):
        talk = make_talk("doubt", np.random.default_rng([32, index]), language=language, split=split)
        first = talk.turns[0].parts
        assert 1 <= sum(not isinstance(part, str) for part in first) <= 2
        spoken = "".join(part.text for part in first if isinstance(part, Spoken))
        assert 5 <= len(talk.turns) // 2 <= 6
        for asked, answered, (case, answer) in zip(
            talk.turns[::2], talk.turns[1::2], talk.facts["answers"], strict=True
        ):
            assert answered.text == answer
            read = CLAIMED[language].fullmatch(answer)
            assert (read is not None) == (case == "contradict")
            if read is None:
                outcomes[case] += 1
                continue
            *claimed, conclusion = read.groups()
            given = [claim for claim in claimed if claim]
            believed = {claim for claim in given if given.count(claim) > 1}
            assert bool(conclusion) == bool(believed)
            outcomes[f"{len(given)} claims, {len(believed)} believed"] += 1
            if any(each[0] == "1" for each in lexicon.attributes(answer, language)):  # a thing: its name claims it
                stated = [part.scene.things[0] for part in first if isinstance(part, Seen)]
                names = [{f"1 {thing.colour} {thing.kind}"} for thing in stated]
                names += [lexicon.attributes(text, language) for text in (spoken, asked.text)]
                assert [lexicon.attributes(claim, language) for claim in given] == list(filter(None, names))
                assert conclusion is None or believed == {conclusion}
    assert set(outcomes) == {
        "agree", "miss", "2 claims, 0 believed", "3 claims, 0 believed", "3 claims, 1 believed",
    }  # fmt: skip
    assert min(outcomes.values()) > 30
