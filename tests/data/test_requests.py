"""Texts as answers to requests: what a request may name, and which requests fit."""

import pytest

from sensorium.data.requests import as_request, request_fields
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.errors import ConfigError

TALE = (
    "Once upon a time there was a girl named Mia. Mia had a kite. "
    "One day the kite flew away. Mia ran after the kite until it got stuck in a tree."
)


def test_a_request_may_name_the_hero_and_what_the_tale_returns_to():
    assert request_fields(TALE) == {"name": "Mia", "topic": "kite"}


def test_a_title_is_a_short_first_line_with_text_below():
    assert request_fields("The Moon\nIt shone.")["title"] == "The Moon"
    assert "title" not in request_fields("The Moon shone.")
    assert "title" not in request_fields("x" * 61 + "\nIt shone.")


def test_only_prompts_whose_fields_the_text_has_are_used():
    assert as_request("it rained.", ("About {name}.",)) is None
    asked = as_request("it rained.", ("About {name}.", "Anything."))
    assert [message.text for message in asked] == ["Anything.", "it rained."]
    assert [message.role for message in asked] == ["user", "assistant"]


def test_the_wording_depends_on_the_text_alone_and_all_wordings_occur():
    prompts = tuple(f"Wording {i} of {{topic}}." for i in range(4))
    tales = [
        TALE.replace("kite", word) for word in ("cat", "dog", "cow", "hen", "pig", "owl", "fox", "bee", "ant", "bat")
    ]
    first = [as_request(tale, prompts)[0].text for tale in tales]
    assert first == [as_request(tale, prompts)[0].text for tale in reversed(tales)][::-1]
    assert {text.split(" of ")[0] for text in first} == {f"Wording {i}" for i in range(4)}


def test_a_title_in_the_request_is_not_told_again():
    asked = as_request("The Moon\nIt shone.", ("Read me {title}.",))
    assert asked[0].text == "Read me The Moon."
    assert asked[1].text == "It shone."


def test_a_prompt_with_an_unknown_field_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'topics'.*did you mean 'topic'"):
        DatasetSpec.parse({"path": "x", "prompts": ["About {topics}."]}, "recipe")


def test_a_stream_asks_for_texts_and_leaves_out_those_that_no_prompt_fits(tmp_path):
    (tmp_path / "a.txt").write_text(f"{TALE}\n\nit rained.\n")
    spec = DatasetSpec(path=tmp_path, documents="paragraph", prompts=("About {name}, please.",))
    records = list(RecordStream(spec, repeat=False))
    assert [[message.text for message in record.content] for record in records] == [["About Mia, please.", TALE]]


def test_a_text_and_its_request_fall_on_the_same_side_of_the_split(tmp_path):
    lines = [TALE.replace("kite", f"kite{chr(97 + i)}") for i in range(26)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    kept = {"path": tmp_path, "documents": "line", "split": "train", "validation_fraction": 0.5}
    plain = list(RecordStream(DatasetSpec(**kept), repeat=False, shuffle=False))
    asked = list(RecordStream(DatasetSpec(**kept, prompts=("Go.",)), repeat=False, shuffle=False))
    assert [record.content for record in plain] == [record.content[1].text for record in asked]
    assert 0 < len(plain) < 26
