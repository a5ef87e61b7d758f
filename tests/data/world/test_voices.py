"""Voices by number: somebody for every number, nobody on both sides of the split, nor among the judge's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.world.voices import JUDGE, LANGUAGES, Voice, espeak_name, manner_of, variants, voice_of
from sensorium.errors import ConfigError

numbers = st.integers(0, 2**40)
GROUPS = ("train", "validation", JUDGE)
splits = st.sampled_from(GROUPS)


def test_no_voice_is_on_both_sides() -> None:
    assert len(variants("train")) >= 8
    assert len(variants("validation")) >= 4
    assert not set(variants("train")) & set(variants("validation"))


def test_the_judge_hears_voices_of_no_split() -> None:
    assert len(variants(JUDGE)) >= 8
    assert not set(variants(JUDGE)) & {*variants("train"), *variants("validation")}


@given(numbers, splits)
def test_a_number_is_one_speaker_of_its_split(number: int, split: str) -> None:
    voice = voice_of(number, split)
    assert voice == voice_of(number, split)
    assert voice.variant in variants(split)
    assert 38 <= voice.pitch <= 62


def test_the_first_numbers_are_all_the_variants() -> None:
    for split in GROUPS:
        assert tuple(voice_of(number, split).variant for number in range(len(variants(split)))) == variants(split)


def test_all_hear_men_and_women() -> None:
    for split in GROUPS:
        assert {"man", "woman"} <= {voice_of(number, split).person for number in range(len(variants(split)))}


@given(numbers, st.text(max_size=20), st.integers(0, 9))
def test_a_manner_is_within_what_espeak_takes(number: int, text: str, take: int) -> None:
    voice = voice_of(number, "train")
    manner, loudness = manner_of(voice, text, take)
    assert (manner, loudness) == manner_of(voice, text, take)
    assert 135 <= manner.speed <= 205
    assert abs(manner.pitch - voice.pitch) <= 4
    assert 0 <= manner.range <= 100
    assert 0.25 <= loudness <= 1.0


def test_names_are_those_of_files_in_lower_case() -> None:
    names = [espeak_name(Voice("m1", "man"), language) for language in LANGUAGES]
    assert names == ["gmw/en+m1", "sit/cmn+m1"]


def test_bad_numbers_and_names_are_errors() -> None:
    with pytest.raises(ConfigError, match="voice is -1: give an integer from 0 on"):
        voice_of(-1, "train")
    with pytest.raises(ConfigError, match="split is 'test'"):
        voice_of(0, "test")
    with pytest.raises(ConfigError, match="no voice speaks 'de'"):
        espeak_name(voice_of(0, "train"), "de")
