"""Prompts that a picture answers: what a batch holds, what is refused, and going on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media_parts import DECODER, picture, seeing, tone

from sensorium.config import AugmentConfig, ModelConfig
from sensorium.data.prompts import PromptBatch, PromptStream
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError
from sensorium.messages import Message, Part, Text
from sensorium.processing.processor import Processor
from sensorium.processing.raw import RawMedia
from sensorium.processing.tokenizer import Tokenizer

COLOURS = {"red": (1.0, -1.0, -1.0), "lime": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0), "white": (1.0, 1.0, 1.0)}
CONFIG = ModelConfig(decoder=DECODER, vision=seeing())


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(Tokenizer.train(["Draw red, lime, blue and white."] * 4, 330)).with_config(CONFIG)


def file_of(path: Path, talks: Sequence[Sequence[Message]], **settings: Any) -> DatasetSpec:
    lines = [json.dumps({"messages": [message.to_dict() for message in talk]}) for talk in talks]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DatasetSpec(path=path, format="jsonl", **settings)


def drawing(colour: str, *, words: str = "Draw", shown: bool = False) -> list[Message]:
    parts: list[Part] = [Text(f"{words} {colour}.")]
    return [Message.user([picture(), *parts] if shown else parts), Message.assistant([picture(colour)])]


def stream(spec: DatasetSpec, processor: Processor, **settings: Any) -> PromptStream:
    return PromptStream([spec], processor, RawMedia(CONFIG, (8, 8)), **{"rows": 2, "time": 64, "seed": 1, **settings})


def same(one: PromptBatch, other: PromptBatch) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("input_ids", "lengths", "pixels")]
    pairs.append((one.media.image_places, other.media.image_places))
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_row_is_the_prompt_as_for_an_answer_and_the_pixels_of_the_answer(
    tmp_path: Path, processor: Processor
) -> None:
    talks = [drawing(colour, shown=colour == "blue", words="Please draw" * (1 + len(colour))) for colour in COLOURS]
    by_prompt = {
        tuple(processor.encode_messages(talk[:-1], add_generation_prompt=True).token_ids.tolist()): COLOURS[colour]
        for talk, colour in zip(talks, COLOURS, strict=True)
    }
    spec = file_of(tmp_path / "a.jsonl", talks)
    (batch,) = islice(stream(spec, processor, rows=4, time=200, repeat=False), 1)
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        colour = by_prompt[tuple(batch.input_ids[row, :length].tolist())]
        assert (batch.input_ids[row, length:] == 0).all()
        torch.testing.assert_close(batch.pixels[row], torch.tensor(colour)[:, None, None].expand(3, 8, 8))
        found.append(colour)
    assert sorted(found) == sorted(COLOURS.values())
    ((row, start, length),) = batch.media.image_places.tolist()
    assert found[row] == COLOURS["blue"]
    assert start + length < batch.lengths[row]
    share = batch.rows_of(row % 2, 2)
    assert len(share.lengths) == 2
    assert share.media.image_places.tolist() == [[row // 2, start, length]]


@pytest.mark.parametrize("settings", [{"prefetch": 0}, {"prefetch": 2}, {"workers": 1}])
def test_prompts_go_on_bit_for_bit(tmp_path: Path, processor: Processor, settings: dict[str, int]) -> None:
    talks = [drawing(colour, shown=index % 2 == 0) for index, colour in enumerate([*COLOURS] * 2)]
    spec = file_of(tmp_path / "a.jsonl", talks, augment=AugmentConfig(brightness=0.5))
    whole = stream(spec, processor, **settings)
    states, batches = [], []
    for batch in islice(whole, 6):
        states.append(whole.state_dict())
        batches.append(batch)
    whole.close()
    again = stream(spec, processor, **settings)
    again.load_state_dict(json.loads(json.dumps(states[2])))
    assert all(same(a, b) for a, b in zip(islice(again, 3), batches[3:], strict=True))
    assert len({float(batch.pixels.mean()) for batch in batches}) == len(batches)
    with pytest.raises(DataError, match="other data or settings"):
        stream(spec, processor, rows=3).load_state_dict(states[0])
    again.close()


def test_a_prompt_that_is_too_long_is_passed_over(tmp_path: Path, processor: Processor) -> None:
    spec = file_of(tmp_path / "a.jsonl", [drawing("red", words="Draw " * 60), drawing("blue")])
    batches = list(stream(spec, processor, rows=8, repeat=False))
    np.testing.assert_array_equal([len(batch.lengths) for batch in batches], [1])
    with pytest.raises(DataError):
        next(stream(file_of(tmp_path / "b.jsonl", [drawing("red", words="Draw " * 60)]), processor))


@pytest.mark.parametrize(
    "answer",
    [[Text("A red ball.")], [picture("red"), tone(0.2)], [picture("red"), picture("red")], [tone(0.2)]],
)
def test_a_conversation_that_ends_in_no_single_picture_is_corrupt(
    tmp_path: Path, processor: Processor, answer: list[Part]
) -> None:
    talks = [drawing("blue"), [Message.user("Draw."), Message.assistant(answer)]]
    reading = stream(file_of(tmp_path / "a.jsonl", talks), processor, repeat=False)
    assert [len(batch.lengths) for batch in reading] == [1]
    assert len(reading.bad) == 1
    assert "one picture" in reading.bad[0]


def test_pictures_of_the_world_come_without_their_sketches(processor: Processor) -> None:
    world = {"kinds": ["edit", "vary"], "size": 16}
    spec = DatasetSpec.model_validate({"world": world, "split": "train", "max_bad": 0})
    batch = next(stream(spec, processor, time=200, rows=3))
    assert batch.pixels.shape == (3, 3, 8, 8)
    assert len(set(batch.lengths.tolist())) > 1


def test_text_and_a_user_who_shows_the_last_picture_are_corrupt(tmp_path: Path, processor: Processor) -> None:
    spec = file_of(tmp_path / "a.jsonl", [[Message.assistant("Well?"), Message.user([picture()])]], max_bad=0)
    with pytest.raises(DataError, match="one picture"):
        next(stream(spec, processor))
    path = tmp_path / "a.txt"
    path.write_text("A story.", encoding="utf-8")
    with pytest.raises(DataError, match="asks for no picture"):
        next(stream(DatasetSpec(path=path, max_bad=0), processor))
