import operator
import re
from collections import Counter

import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Spoken, lexicon, make_talk


def drawn(kind, language, split="train", n=500):
    return [make_talk(kind, np.random.default_rng([10, i]), language=language, split=split) for i in range(n)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_sums_are_right(language, split):
    for talk in drawn("arithmetic", language, split):
        one, sign, other = talk.facts["expression"].split()
        value = {"+": operator.add, "-": operator.sub, "x": operator.mul}[sign](int(one), int(other))
        assert talk.answer == talk.facts["answer"] == str(value)
        assert 0 <= value <= 20


def test_sums_are_held_out_either_way_round():
    def expressions(language, split):
        sums = (talk.facts["expression"].split() for talk in drawn("arithmetic", language, split, 2000))
        return {
            (sign, *(sorted(pair) if sign != "-" else pair)) for one, sign, other in sums for pair in [(one, other)]
        }

    assert not expressions("en", "train") & expressions("zh", "validation")


@pytest.mark.parametrize("language", LANGUAGES)
def test_instructions_are_followed(language):
    tasks = set()
    for talk in drawn("instruct", language, n=300):
        task, text = talk.facts["task"], talk.turns[0].text
        tasks.add(task)
        if task == "repeat":
            assert text.endswith(talk.answer)
        if task == "count":
            words = talk.answer.split()
            assert words[0] in text
            assert words[-1] in text
            numbers = [lexicon.number(value, language) for value in range(21)]
            values = [numbers.index(word) for word in words]
            assert values == list(range(values[0], values[-1] + 1))
        if task in ("extreme", "order", "sort"):
            assert talk.answer in text
    assert tasks == {"repeat", "count", "extreme", "order", "sort"}


def test_translations_are_of_the_same_things():
    directions = set()
    for talk in drawn("translate", "en"):
        facts = talk.facts
        directions.add((facts["source_language"], facts["target_language"]))
        source = lexicon.attributes(facts["source"], facts["source_language"])
        assert source == lexicon.attributes(facts["target"], facts["target_language"])
        assert source
        assert talk.answer == facts["target"]
        heard = [part.text for part in talk.turns[0].parts if isinstance(part, Spoken)]
        assert facts["source"] in (heard or [talk.turns[0].text])[0]
    assert directions == {("en", "zh"), ("zh", "en")}


def test_summaries_add_up():
    counts = {"a": 1, "an": 1, "one": 1, "two": 2}
    for talk in drawn("summarise", "en"):
        told = talk.turns[0].parts[0]
        text = told.text if isinstance(told, Spoken) else told
        saw = re.findall(r"(?:saw|came) (an?|one|two) (?:more )?(\w+) (\w+?)s?\.", text)
        added = Counter()
        for count, colour, kind in saw:
            added[colour, kind] += counts[count]
        assert {(colour, kind.removesuffix("s")): n for n, colour, kind in talk.facts["things"]} == added
