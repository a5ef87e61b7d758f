import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sensorium.errors import ConfigError, DataError
from sensorium.processing.tokenizer import CONTROLS, Tokenizer

TEXTS = ["hello world, it's 2024", "你好，世界。今天天气很好！", "def f(x):\n    return x + 12"] * 3
unicode_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
mixed_text = st.lists(
    st.one_of(
        unicode_text,
        st.sampled_from(
            [*CONTROLS[:9], "<|", "|>", " " * 40, "\t\t\n\r\n", "\x00", "e\u0301", "你好", "مرحبا", "👩‍👩‍👧‍👦"]
        ),
    ),
    max_size=8,
).map("".join)


@given(mixed_text)
@example("e\u0301 é \u212b \ufb01")  # forms that a normaliser would change
@example("\x00\x01\x1b[0m\x7f\u0085\u2028")
@example("\r\n\r\n \r \n\n  \t ")
@example(" " * 3000 + "x" + "\n" * 3000)
@example("\u202eשלום‏ مرحبا\u202c")
@example("👩🏽‍🚀🇨🇳")
@example("\ufeffa\ufffd\U0010ffff")
@example("<|end|><|bos|>")
def test_encoding_and_decoding_is_the_identity(ours: Tokenizer, text: str) -> None:
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert ours.decode(ids, controls=True) == text
    assert ours.n_bytes(ids) == len(text.encode())
    assert not set(ids) & set(ours.control_ids.values())


@given(mixed_text)
def test_streaming_equals_decoding_at_once(ours: Tokenizer, text: str) -> None:
    decoder = ours.stream_decoder()
    pieces = [decoder.push(index) for index in ours.encode(text)]
    assert "".join(pieces) == text
    assert decoder.flush() == ""


@given(st.lists(st.integers(min_value=-2, max_value=520), max_size=40))
def test_streaming_equals_decoding_on_any_ids(ours: Tokenizer, ids: list[int]) -> None:
    decoder = ours.stream_decoder()
    assert "".join([*map(decoder.push, ids), decoder.flush()]) == ours.decode(ids)


def test_a_character_is_shown_when_it_is_whole(ours: Tokenizer) -> None:
    ids = ours.encode("🎉")
    assert len(ids) == 4
    decoder = ours.stream_decoder()
    assert [decoder.push(index) for index in ids] == ["", "", "", "🎉"]
    assert [decoder.push(index) for index in ids[:2]] == ["", ""]
    assert decoder.flush() == "\ufffd"


def test_streaming_goes_on_where_a_prompt_ended(ours: Tokenizer) -> None:
    ids = ours.encode("🎉")
    decoder = ours.stream_decoder(after=ids[:3])
    assert decoder.push(ids[3]) == "🎉"


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00"])
def test_lone_surrogates_are_refused(ours: Tokenizer, text: str) -> None:
    place = next(index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    with pytest.raises(DataError, match=f"lone surrogate at character {place}"):
        ours.encode(text)
    with pytest.raises(DataError, match="lone surrogate"):
        ours.encode_pieces([("fine", False), (text, False)])
    with pytest.raises(DataError, match="lone surrogate"):
        Tokenizer.train([text], 300)


def test_controls_have_the_first_ids(ours: Tokenizer) -> None:
    assert len(CONTROLS) == len(set(CONTROLS)) == 32
    assert ours.control_ids == {name: index for index, name in enumerate(CONTROLS)}
    assert (ours.bos_id, ours.eos_id, ours.pad_id, ours.mask_id, ours.unk_id) == (0, 1, 2, 3, None)
    assert ours.prompt_ids == [0]


def test_controls_are_read_only_when_asked(ours: Tokenizer) -> None:
    text = "<|bos|>hello<|end|><|endless|>"
    ids = ours.encode(text, controls=True)
    assert ids == [0, *ours.encode("hello"), ours.control_ids["<|end|>"], *ours.encode("<|endless|>")]
    assert ours.decode(ids) == "hello<|endless|>"
    assert ours.decode(ids, controls=True) == text
    assert ours.n_bytes(ids) == len("hello<|endless|>")


def test_pieces_are_cut_as_one_text_with_their_spans(ours: Tokenizer) -> None:
    parts = [("<|bos|>", True), ("hel", False), ("", False), ("lo <|end|> 🎉", False), ("<|end|>", True), ("x", False)]
    ids, spans = ours.encode_pieces(parts)
    assert ids.tolist() == [0, *ours.encode("hello <|end|> 🎉"), ours.control_ids["<|end|>"], *ours.encode("x")]
    text = "".join(part for part, _ in parts)
    assert (spans[:, 0] < spans[:, 1]).all()
    for index, (begin, end) in zip(ids.tolist(), spans.tolist(), strict=True):
        piece = ours.decode([index], controls=True)
        assert text[begin:end] == ("🎉" if "\ufffd" in piece else piece)


def test_no_pieces_make_no_tokens(ours: Tokenizer) -> None:
    ids, spans = ours.encode_pieces([])
    assert ids.dtype == np.int32
    assert (len(ids), spans.shape) == (0, (0, 2))


def test_a_piece_that_is_no_control_cannot_be_one(ours: Tokenizer) -> None:
    with pytest.raises(DataError, match="'<\\|dance\\|>' is not a control token"):
        ours.encode_pieces([("<|dance|>", True)])


def test_digits_stand_alone(ours: Tokenizer) -> None:
    ids = ours.encode("in 2024 and 1234567")
    digits = [ours.decode([index]) for index in ids if any(c.isdigit() for c in ours.decode([index]))]
    assert digits == list("20241234567")


def test_chinese_words_are_learned_apart_from_latin_ones() -> None:
    tokenizer = Tokenizer.train(["我们去Beijing公园玩，Beijing公园很大"] * 20, 400)
    pieces = [tokenizer.decode([index]) for index in tokenizer.encode("我们去Beijing公园玩")]
    assert pieces == ["我们去", "Beijing", "公园玩"]


def test_words_carry_their_space() -> None:
    tokenizer = Tokenizer.train(["the cat saw the dog and didn’t run, don't run"] * 20, 400)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("the dog don't")] == ["the", " dog", " don", "'t"]
    assert [tokenizer.decode([i]) for i in tokenizer.encode("didn’t")][-1] == "’t"


def test_text_that_spells_controls_teaches_no_control() -> None:
    tokenizer = Tokenizer.train(["<|end|><|end|> <|user|>"] * 50, 400)
    assert not set(tokenizer.encode("<|end|>")) & set(tokenizer.control_ids.values())


def test_training_is_deterministic_and_files_are_too(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Tokenizer.train(iter(TEXTS), 340).save(tmp_path / name)
        written.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert written[0] == written[1]


def test_a_saved_tokenizer_loads_the_same(ours: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    ours.save(tmp_path / "first")
    loaded = Tokenizer.load(tmp_path / "first")
    loaded.save(tmp_path / "second")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    text = "The girl <|end|> 你好 12\x00"
    assert loaded.encode(text) == ours.encode(text)
    assert loaded.control_ids == ours.control_ids
    assert (loaded.vocab_size, loaded.roles) == (ours.vocab_size, ours.roles)


def test_vocabulary_size_is_what_was_asked_where_text_allows(ours: Tokenizer) -> None:
    assert ours.vocab_size == 500
    assert Tokenizer.train(["ab"], 1000).vocab_size == 288


def test_a_vocabulary_too_small_for_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size = 287: a byte-level vocabulary needs at least 288"):
        Tokenizer.train(["a"], 287)


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        Tokenizer.train(texts, 300)


def test_long_runs_are_cut_in_good_time(ours: Tokenizer) -> None:
    for text in (" " * 300_000, "a" * 100_000, "你" * 100_000, "\n" * 300_000, "!" * 100_000, " \t" * 100_000):
        assert ours.decode(ours.encode(text)) == text


def test_truncation_and_padding_in_a_file_are_not_followed(ours: Tokenizer, tmp_path: Path) -> None:
    ours.save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    spec["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    spec["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 2,
        "pad_type_id": 0,
        "pad_token": "<|pad|>",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    text = "one two three four five six seven"
    assert Tokenizer.load(tmp_path).encode(text) == ours.encode(text)


@settings(max_examples=30)
@given(st.lists(mixed_text.filter(bool), min_size=1, max_size=4), mixed_text)
def test_any_trained_tokenizer_is_the_identity(texts: list[str], text: str) -> None:
    tokenizer = Tokenizer.train(texts, 300)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_location_tokens_are_plain_text_of_one_token(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(TEXTS + ["apple<loc03><loc10>"] * 50, 300, locations=64)
    assert tokenizer.vocab_size == 300 + 64
    ids = tokenizer.encode("<loc00><loc63>")
    assert ids == [300, 363]
    for text in ("apple<loc03><loc10> <loc63>pear", "<loc64>", "<loc3>", "<LOC03>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.n_bytes(ids) == len("<loc00><loc63>")
    assert not {"<loc00>", "<loc63>"} & tokenizer.control_ids.keys()
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(index) for index in ids] == ["<loc00>", "<loc63>"]
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode("at <loc07>") == tokenizer.encode("at <loc07>")
    assert loaded.with_locations(64) is loaded


def test_locations_are_added_to_a_tokenizer_of_any_kind(any_folder: Path) -> None:
    before = Tokenizer.load(any_folder)
    after = before.with_locations(1000)
    assert after.vocab_size == before.vocab_size + 1000
    assert after.encode("<loc999>")[-1] == after.vocab_size - 1
    assert after.encode("hello there") == before.encode("hello there")
    assert after.control_ids == before.control_ids


def test_controls_can_be_added(ours: Tokenizer) -> None:
    larger = ours.with_controls(["<image>", "<|image|>", "<image>"])
    assert larger.control_ids == {**ours.control_ids, "<image>": ours.vocab_size}
    assert larger.encode("<image>") == ours.encode("<image>")
    assert larger.encode("<image>", controls=True) == [ours.vocab_size]
    assert larger.decode([ours.vocab_size]) == ""


def test_a_tokenizer_from_before_pictures_has_kept_places_for_them(ours: Tokenizer, tmp_path: Path) -> None:
    ours.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    for index, name in enumerate(CONTROLS[9:15]):
        text = text.replace(f'"{name}"', f'"<|reserved_{index}|>"')
    path.write_text(text, encoding="utf-8")
    old = Tokenizer.load(tmp_path)
    assert "<|image|>" not in old.control_ids
    assert old.encode("The girl <|image|>") == ours.encode("The girl <|image|>")
    new = old.with_controls(["<|image|>", "<|image_end|>"])
    assert {name: new.control_ids[name] for name in ("<|image|>", "<|image_end|>")} == {
        "<|image|>": 9,
        "<|image_end|>": 12,
    }
    assert "<|reserved_0|>" not in new.control_ids
    assert new.control_ids["<|reserved_1|>"] == 10
    assert new.vocab_size == old.vocab_size
    assert new.prompt_ids == old.prompt_ids


def test_a_tokenizer_goes_to_another_process(ours: Tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(ours))
    text = "The girl <|end|> 你好"
    assert copy.encode(text) == ours.encode(text)
    assert copy.control_ids == ours.control_ids
