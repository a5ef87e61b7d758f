import re
from collections import Counter

import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, Spoken, lexicon, make_talk
from sensorium.data.world.talk.majority import Claims
from sensorium.languages import is_chinese


def drawn(kind, language, split="train", n=600):
    return [make_talk(kind, np.random.default_rng([4, i]), language=language, split=split) for i in range(n)]


def shown_value(scene):
    if scene.digits:
        return str(scene.digits[0])
    return scene.weather or f"{scene.things[0].colour} {scene.things[0].kind}"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_answer_is_the_majority_or_the_doubt(language, split):
    cases = set()
    for talk in drawn("fuse", language, split):
        facts = talk.facts
        claims = Claims(facts["seen"], facts["heard"], facts["read"])
        assert facts["truth"] == claims.majority
        assert facts["case"] == claims.case
        assert talk.answer == facts["answer"]
        parts = talk.turns[0].parts
        assert [shown_value(part.scene) for part in parts if isinstance(part, Seen)] == [facts["seen"]] * bool(
            claims.seen
        )
        assert sum(isinstance(part, Spoken) for part in parts) == bool(claims.heard)
        if facts["attribute"] == "thing":
            found = lexicon.attributes(talk.answer, language)
            assert found == {f"1 {value}" for value in claims.present.values()}
            if claims.majority:
                assert lexicon.attributes(re.split("[:：]", talk.answer)[-1], language) == {f"1 {claims.majority}"}
        assert talk.answer.startswith(("I ", "我")) == (facts["case"] == "contradict")
        if facts["case"] == "contradict":  # who agrees with one before says so, right behind what it is
            clauses = re.split(", | and |，", re.split("[:：]", talk.answer)[0].rstrip(".。"))
            said = list(claims.present.values())
            assert [clause.endswith((" too", "也一样")) for clause in clauses] == [
                value in said[:index] for index, value in enumerate(said)
            ]
        cases.add((facts["case"], facts["truth"] is None))
    assert cases == {("agree", False), ("miss", False), ("contradict", False), ("contradict", True)}


@pytest.mark.parametrize(
    ("kind", "absent"), [("fuse_no_picture", "seen"), ("fuse_no_voice", "heard"), ("fuse_no_text", "read")]
)
def test_one_sense_may_be_missing(kind, absent):
    for talk in drawn(kind, "en", n=50):
        assert [sense for sense in ("seen", "heard", "read") if talk.facts[sense] is None] == [absent]
        assert talk.facts["truth"] is not None


def test_one_sense_may_contradict_the_two_others():
    wrong = set()
    for talk in drawn("fuse_contradict", "en", n=100):
        senses = {sense: talk.facts[sense] for sense in ("seen", "heard", "read")}
        assert list(senses.values()).count(talk.facts["truth"]) == 2
        wrong |= {sense for sense, value in senses.items() if value != talk.facts["truth"]}
    assert wrong == {"seen", "heard", "read"}
    assert all(talk.facts["case"] == "agree" for talk in drawn("fuse_agree", "zh", n=50))


@pytest.mark.parametrize("language", LANGUAGES)
def test_at_times_the_voice_speaks_another_language_than_is_written(language):
    foreign = Counter()
    for talk in drawn("fuse", language):
        foreign.update(part.language != language for part in talk.turns[0].parts if isinstance(part, Spoken))
    assert 0.03 < foreign[True] / foreign.total() < 0.2


def test_where_one_language_is_spoken_nothing_is_foreign():
    for index in range(200):
        talk = make_talk("fuse", np.random.default_rng([8, index]), language="en", split="train", languages=("en",))
        assert all(part.language == "en" for part in talk.turns[0].parts if isinstance(part, Spoken))
        assert not is_chinese(talk.turns[0].text)
