"""Judges of speech: they write down what they never learned from, hear nothing in noise, and say what they lack."""

import re
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.data.world.speech import RATE, speak
from sensorium.data.world.talk import LANGUAGES
from sensorium.errors import CheckpointError, ConfigError, DataError, RequestError
from sensorium.evaluation.making import spoken_words, within
from sensorium.evaluation.recognition import SpeechJudge, WordLoop, read_classes, speech_errors
from sensorium.hub.resolve import resolve_model, shipped_models


@pytest.fixture(scope="module")
def judge() -> SpeechJudge:
    return SpeechJudge()


def sentences(language: str, n: int, kind: str = "recite") -> list[str]:
    """The first sentences of validation, none twice."""
    world = World(WorldSpec.parse({"kinds": [kind], "languages": [language]}, "world"), "validation")

    def distinct() -> Iterator[str]:
        seen: set[str] = set()
        for number in count():
            text = world.talk(number).answer
            if text not in seen:
                seen.add(text)
                yield text

    return list(islice(distinct(), n))


def error_rate(heard: list[str], said: list[str], language: str) -> float:
    errors, lengths = np.sum([speech_errors(*pair, language) for pair in zip(heard, said, strict=True)], axis=0)
    return float(errors / lengths)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.usefixtures("world_extra")
def test_the_judge_writes_down_voices_that_it_never_heard(judge: SpeechJudge, language: str) -> None:
    said = sentences(language, 96)
    own = [judge.transcribe(speak(text, language, 0, split="train")) for text in said]
    others = [judge.transcribe(speak(text, language, voice, split="validation")) for voice, text in enumerate(said)]
    assert error_rate(own, said, language) < {"en": 0.3, "zh": 0.15}[language]
    assert error_rate(others, said, language) < {"en": 0.5, "zh": 0.5}[language]
    if language == "en":  # letters go wrong, words of the vocabulary seldom
        assert error_rate([within(text, spoken_words()) for text in own], said, language) < 0.15


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.usefixtures("world_extra")
def test_what_is_drowned_in_noise_is_judged_bad(judge: SpeechJudge, language: str) -> None:
    said = sentences(language, 8)
    rng = np.random.default_rng(0)
    heard = [
        judge.transcribe(sound + rng.normal(0, 3 * sound.std(), len(sound)).astype(np.float32))
        for sound in (speak(text, language, 0, split="train") for text in said)
    ]
    assert error_rate(heard, said, language) > 0.5


def test_a_long_recording_is_heard_in_windows_and_silence_says_nothing(judge: SpeechJudge) -> None:
    assert judge.transcribe(np.zeros(45 * RATE, np.float32)).strip(" .。") == ""
    with pytest.raises(DataError, match="a recording must be a row of samples"):
        judge.transcribe(np.zeros(0, np.float32))


def test_classes_are_bytes_and_what_is_no_utf8_is_dropped() -> None:
    assert read_classes([0, 98, 98, 0, 98, 99, 0]) == "aab"
    assert read_classes([]) == read_classes([0, 0]) == ""
    good = [byte + 1 for byte in "猫".encode()]
    assert read_classes(good) == "猫"
    assert read_classes([*good[:2], 98, *good, 200]) == "a猫"


def test_the_judge_is_shipped_but_is_nobody_to_talk_with() -> None:
    assert resolve_model("judge") == shipped_models(judges=True)["judge"]
    assert "judge" not in shipped_models()
    assert sum(file.stat().st_size for file in resolve_model("judge").iterdir()) < 2_000_000


def test_what_does_not_spell_is_no_judge(talker: Path) -> None:
    with pytest.raises(RequestError, match="cannot judge speech: it does not spell what it hears"):
        SpeechJudge(talker).transcribe(np.zeros(RATE, np.float32))
    with pytest.raises(CheckpointError, match=r"no model '\./nowhere'"):
        SpeechJudge("./nowhere").transcribe(np.zeros(RATE, np.float32))


@pytest.fixture(scope="module")
def loop() -> WordLoop:
    pytest.importorskip("pocketsphinx")
    return WordLoop(["Yes", "no", "one", "two", "three", "apples", "cats", "green", "xqzt"])


def test_a_word_loop_reports_the_words_that_it_cannot_pronounce(loop: WordLoop) -> None:
    assert loop.missing == ("xqzt",)
    assert loop.words == ("apples", "cats", "green", "no", "one", "three", "two", "yes")
    with pytest.raises(RequestError, match="can pronounce none of 2 words"):
        WordLoop(["xqzt", "猫"])


@pytest.mark.usefixtures("world_extra")
def test_a_word_loop_writes_words_of_its_vocabulary_in_any_order(loop: WordLoop) -> None:
    heard = [loop.transcribe(speak(text, "en", 0, split="train")) for text in ("Three green apples.", "Two cats.")]
    assert all(set(re.findall(r"\S+", text)) <= set(loop.words) for text in heard)
    assert error_rate(heard, ["three green apples", "two cats"], "en") <= 0.4


@pytest.mark.usefixtures("world_extra")
def test_a_word_loop_forgets_what_it_heard_before(loop: WordLoop) -> None:
    sounds = [speak(text, "en", 1, split="train") for text in ("Three green apples.", "Two cats.")]
    first = [loop.transcribe(sound) for sound in sounds]
    assert [loop.transcribe(sound) for sound in reversed(sounds)][::-1] == first


def test_without_pocketsphinx_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ConfigError, match=r"needs pocketsphinx, of the extra test: pip install 'sensorium\[test\]'"):
        WordLoop(["yes"])


def test_errors_are_of_words_in_english_and_of_characters_in_chinese() -> None:
    assert speech_errors("two red cat", "Two red cats.", "en") == (1, 3)
    assert speech_errors("两只红色的描。", "两只红色的猫", "zh") == (1, 6)
