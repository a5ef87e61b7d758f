"""The world by number: the same number is the same conversation, drawn and spoken as its talk says."""

import io
import random
import wave
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from sensorium.data.world.render import render
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World, picture_bytes
from sensorium.data.world.speech import speak, wav_bytes
from sensorium.data.world.splits import pairs
from sensorium.data.world.talk import KINDS, WRITTEN, Seen, Spoken, Talk, Turn
from sensorium.errors import ConfigError
from sensorium.messages import Audio, Image, Message, Text


def world(split: str = "train", **settings: Any) -> World:
    return World(WorldSpec.parse(settings, "world"), split)


def messages(record: Any) -> tuple[Message, ...]:
    assert not isinstance(record.content, str)
    return record.content


@pytest.mark.usefixtures("world_extra")
def test_records_are_the_same_in_any_order() -> None:
    one, other = world(), world()
    numbers = [*range(20), 10**12]
    first = {number: one.record(number) for number in numbers}
    random.Random(0).shuffle(numbers)
    assert all(other.record(number) == first[number] for number in numbers)
    assert len({str(messages(record)) for record in first.values()}) == len(first)


@pytest.mark.usefixtures("world_extra")
def test_seed_and_split_give_other_conversations() -> None:
    worlds = [world(), world(seed=1), world("validation")]
    firsts = [[one.talk(number) for number in range(10)] for one in worlds]
    assert firsts[0] != firsts[1]
    assert firsts[0] != firsts[2]


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 2**62), st.sampled_from(("train", "validation")))
@settings(max_examples=60)
@pytest.mark.usefixtures("world_extra")
def test_every_part_becomes_what_it_says(kind: str, number: int, split: str) -> None:
    made = world(split, kinds=[kind], size=32)
    talk, record = made.talk(number), made.record(number)
    assert record.where == f"world:{split}:{number}"
    turns = [turn for turn in talk.turns if turn.parts]
    assert [message.role for message in messages(record)] == [turn.role for turn in turns]
    for turn, message in zip(turns, messages(record), strict=True):
        for piece, part in zip(turn.parts, message.parts, strict=True):
            if isinstance(piece, str):
                assert part == Text(piece)
            elif isinstance(piece, Seen):
                assert part == Image(data=picture_bytes(piece.scene, 32))
            else:
                assert isinstance(part, Audio)
                assert part.data is not None
                with wave.open(io.BytesIO(part.data)) as file:
                    assert file.getframerate() == 16_000
                    assert file.getnframes() > 1_000


@pytest.mark.usefixtures("world_extra")
def test_pictures_are_files_that_hold_the_pixels() -> None:
    made = world(kinds=["caption"], size=48)
    talk = made.talk(3)
    scene = next(piece.scene for turn in talk.turns for piece in turn.parts if isinstance(piece, Seen))
    pixels = np.asarray(Picture.open(io.BytesIO(picture_bytes(scene, 48))))
    assert pixels.shape == (48, 48, 3)
    np.testing.assert_array_equal(pixels, render(scene, 48))


@pytest.mark.usefixtures("world_extra")
def test_a_given_voice_speaks_and_an_open_one_is_drawn_by_the_number() -> None:
    made = world(kinds=["dictation"])

    def talk(voice: int | None) -> Talk:
        return Talk("dictation", "en", (_turn(Spoken("Three cats.", "en", voice)),))

    given_, same = made.realise(talk(5), 0), made.realise(talk(5), 0)
    assert given_ == same
    takes = [wav_bytes(speak("Three cats.", "en", 5, split="train", take=take)) for take in _takes(made, 0)]
    assert given_[0].parts[0] == Audio(data=takes[0])
    assert len({made.realise(talk(None), number) for number in range(4)}) == 4


def test_where_nobody_speaks_there_is_faint_noise() -> None:
    nothing = Talk("refuse", "en", (_turn(Spoken("", "en", 3)), Turn("assistant", ("I hear nothing.",))))
    lengths = set()
    for index in range(8):
        (part,) = world().realise(nothing, index)[0].parts
        assert isinstance(part, Audio)
        with wave.open(io.BytesIO(part.data or b"")) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
            assert 0.5 <= len(samples) / file.getframerate() <= 3.0
        assert np.abs(samples).max() < 0.03
        lengths.add(len(samples))
    assert len(lengths) == 8


@pytest.mark.usefixtures("world_extra")
def test_the_assistant_has_one_voice_whatever_the_split_and_the_voices() -> None:
    for made in (world(), world("validation"), world(kinds=["recite"], voices="judge")):
        said = Spoken("Three cats.", "en", 0, own=True)
        (message,) = made.realise(Talk("speak", "en", (Turn("assistant", (said,)),)))
        assert message.parts == (Audio(data=wav_bytes(speak("Three cats.", "en", 0, split="train", take=None))),)
    for split in ("train", "validation"):
        for number in range(20):
            pieces = world(split, kinds=["speak"]).talk(number).turns[-1].parts
            assert all(piece.own for piece in pieces if isinstance(piece, Spoken))


@pytest.mark.usefixtures("world_extra")
def test_the_voices_of_the_judge_say_the_sentences_of_the_split() -> None:
    usual, judged = world(kinds=["recite"]), world(kinds=["recite"], voices="judge")
    for number in range(5):
        assert usual.talk(number) == judged.talk(number)
        assert messages(usual.record(number)) != messages(judged.record(number))
    said = Talk("recite", "en", (Turn("assistant", (Spoken("Three cats.", "en", 3),)),))
    (message,) = judged.realise(said)
    takes = [wav_bytes(speak("Three cats.", "en", 3, split="judge", take=take)) for take in _takes(judged, 0)]
    assert message.parts == (Audio(data=takes[0]),)


def test_words_alone_leave_out_pictures_and_recordings() -> None:
    made = world(kinds=["vqa", "spoken_vqa", "dictation"])
    for number in range(30):
        words = messages(made.record(number, media=False))
        assert all(isinstance(part, Text) for message in words for part in message.parts)
        assert words[-1].text == made.talk(number).answer


def test_kinds_and_languages_come_in_their_shares() -> None:
    made = world(kinds={"caption": 3, "vqa": 1}, languages=["zh"])
    talks = [made.talk(number) for number in range(400)]
    assert {talk.language for talk in talks} == {"zh"}
    assert sum(talk.kind == "caption" for talk in talks) == pytest.approx(300, abs=30)
    both = [world(kinds=["caption"]).talk(number).language for number in range(400)]
    assert both.count("en") == pytest.approx(200, abs=40)


def test_left_out_kinds_are_all_that_answer_in_words() -> None:
    assert tuple(WorldSpec().shares) == WRITTEN
    assert sum(WorldSpec().shares.values()) == pytest.approx(1)


def test_validation_shows_only_what_training_never_meets() -> None:
    for split in ("train", "validation"):
        allowed = set(pairs(split))
        for number in range(100):
            for turn in world(split, kinds=["caption", "vqa", "detect"]).talk(number).turns:
                for piece in turn.parts:
                    if isinstance(piece, Seen):
                        assert {(thing.colour, thing.kind) for thing in piece.scene.things} <= allowed


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"kinds": ["captoin"]}, r"kinds: the world knows no talk of the kind 'captoin' \(did you mean 'caption'\?\)"),
        ({"kinds": {"caption": 0}}, "kinds.caption = 0: Input should be greater than 0"),
        ({"languages": []}, "languages: Tuple should have at least 1 item"),
        ({"languages": ["fr"]}, "languages.0 = 'fr': Input should be 'en' or 'zh'"),
        ({"size": 15}, "size = 15: Input should be greater than or equal to 16"),
        ({"size": 5000}, "size = 5000: Input should be less than or equal to 1024"),
        ({"seed": -1}, "seed = -1"),
        ({"voices": "all"}, "voices = 'all': Input should be 'split' or 'judge'"),
        ({"voices": "judge"}, "talk of the kind 'speaker' is about the voices of its split"),
        ({"sizes": 64}, r"unknown key 'sizes' \(did you mean 'size'\?\)"),
    ],
)
def test_settings_out_of_range_are_errors(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^world: {why}"):
        world(**settings)


def test_bad_numbers_and_splits_are_errors() -> None:
    with pytest.raises(ConfigError, match="record -1 of the world: give a number from 0 on"):
        world().talk(-1)
    with pytest.raises(ConfigError, match="split is 'all'"):
        world("all")


def _turn(*pieces: Any) -> Any:
    return Turn("user", pieces)


def _takes(made: World, number: int) -> list[int]:
    """The take of the first thing said in a conversation."""
    rng = made._generator(number, 1)
    rng.integers(2**31)
    return [int(rng.integers(2**16))]
