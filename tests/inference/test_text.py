"""Text as it leaves the engine: stop strings held back whole, however the text was cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.inference.text import StopScanner, TextStream

LETTERS = st.text("ab猫", max_size=12)


def by_character(text: str, stops: list[str]) -> tuple[str, bool]:
    """The text up to the first character that completes a stop string; the longest one counts."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


def scan(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    scanner = StopScanner(stops)
    shown = []
    for piece in pieces:
        shown.append(scanner.push(piece))
        if scanner.stopped:
            return shown, True
    return [*shown, scanner.flush()], False


@settings(max_examples=400)
@given(st.lists(LETTERS, max_size=8), st.lists(st.text("ab猫", min_size=1, max_size=4), max_size=3))
def test_what_is_shown_does_not_depend_on_the_pieces(pieces, stops):
    shown, stopped = scan(pieces, stops)
    assert ("".join(shown), stopped) == by_character("".join(pieces), stops)


@settings(max_examples=400)
@given(st.lists(LETTERS, max_size=8), st.lists(st.text("ab猫", min_size=1, max_size=4), min_size=1, max_size=3))
def test_no_beginning_of_a_stop_string_is_shown_before_it_is_known_to_be_none(pieces, stops):
    scanner, text, shown = StopScanner(stops), "", ""
    for piece in pieces:
        text += piece
        shown += scanner.push(piece)
        if scanner.stopped:
            break
        begun = max((n for stop in stops for n in range(len(stop)) if text.endswith(stop[:n])), default=0)
        assert shown == text[: len(text) - begun]


def test_a_stop_string_across_pieces_is_cut_out_and_what_follows_is_dropped():
    assert scan(["Hello <", "e", "nd", "> more"], ["<end>"]) == (["Hello ", "", "", ""], True)
    assert scan(["a <en", "try>"], ["<end>"]) == (["a ", "<entry>", ""], False)


@settings(max_examples=200)
@given(st.data())
def test_tokens_become_whole_characters_that_join_to_what_decoding_all_at_once_gives(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    stream = TextStream(tokenizer, [])
    pieces = [stream.push(token) for token in ids] + [stream.finish()]
    assert "".join(pieces) == tokenizer.decode(ids)


def test_a_character_of_several_tokens_comes_whole(tokenizer):
    ids = tokenizer.encode("鼠")
    assert len(ids) == 3
    stream = TextStream(tokenizer, [])
    assert [stream.push(token) for token in ids] == ["", "", "鼠"]


def test_log_probabilities_come_with_the_text_they_belong_to_and_not_with_what_is_held_back(tokenizer):
    stream = TextStream(tokenizer, ["鼠!"])
    ids = tokenizer.encode("a鼠b")
    given = []
    for token in ids:
        text = stream.push(token, (-1.0, ()))
        given.append((text, [entry.token_id for entry in stream.logprobs()]))
    assert given[0] == ("a", [ids[0]])
    assert given[1:-1] == [("", [])] * (len(ids) - 2)
    assert given[-1] == ("鼠b", ids[1:])
