import numpy as np
import pytest

from sensorium.data.world.talk import LANGUAGES, Seen, make_talk
from sensorium.data.world.talk.hearing import NOTHING_HEARD


def drawn(kind, language, split="train", n=300):
    return [make_talk(kind, np.random.default_rng([13, i]), language=language, split=split) for i in range(n)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_chat_asks_again_about_what_was_shown(language):
    lengths, pictures = set(), set()
    for talk in drawn("chat", language):
        answers = [turn.text for turn in talk.turns if turn.role == "assistant"]
        assert answers == talk.facts["answers"]
        assert talk.facts["questions"][0] == "caption"
        assert any(isinstance(part, Seen) for part in talk.turns[0].parts)
        pictures.add(sum(isinstance(part, Seen) for turn in talk.turns for part in turn.parts))
        lengths.add(len(talk.turns))
    assert min(lengths) >= 4
    assert pictures == {1, 2}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_refusals_say_why(language, split):
    answers = {}
    for talk in drawn("refuse", language, split):
        reason = talk.facts["reason"]
        answers.setdefault(reason, set()).add(talk.answer)
        scenes = [part.scene for part in talk.turns[0].parts if isinstance(part, Seen)]
        assert bool(scenes) == (reason == "absent")
    assert {reason for reason, said in answers.items() if len(said) == 1} >= {"outside", "no picture", "no recording"}
    assert answers["silent"] == {NOTHING_HEARD["en"], NOTHING_HEARD[language]}
    assert len(answers["absent"]) > 10
