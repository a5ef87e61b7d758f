"""Pictures and recordings on their way into batches: split by what they are, and named when they are broken."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_parts import hearing, model_of, picture, seeing, tone

from sensorium.data.batches import BatchStream
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream, content_hash
from sensorium.errors import DataError
from sensorium.messages import Audio, Image, Message, Text
from sensorium.processing import Processor, Tokenizer


def about(question: str, *media: Image | Audio) -> tuple[Message, ...]:
    return (Message.user([*media, Text(question)]), Message.assistant("Yes."))


def test_a_picture_decides_its_side_whatever_is_said_of_it(tmp_path: Path) -> None:
    (tmp_path / "named.png").write_bytes(b"one")
    one, other = Image(data=b"one"), Image(data=b"other")
    assert content_hash(about("What?", one)) == content_hash(about("Where?", one))
    assert content_hash(about("What?", one)) == content_hash(about("Where?", Image(path=tmp_path / "named.png")))
    assert content_hash(about("What?", one)) != content_hash(about("What?", other))
    assert content_hash(about("What?", Image(url="x"))) != content_hash(about("What?", Image(url="y")))
    assert 0 <= content_hash(about("What?", Image(path=tmp_path / "gone.png"))) < 1
    assert content_hash(about("What?")) != content_hash(about("Where?"))


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=30))
def test_no_picture_that_is_held_out_is_in_training(shown: list[list[int]]) -> None:
    fraction = 0.4
    train: set[int] = set()
    held_out: list[set[int]] = []
    for numbers in shown:
        share = content_hash(about("What?", *(Image(data=bytes([number])) for number in numbers)))
        held_out += [set(numbers)] if share < fraction else []
        train |= set() if share < fraction else set(numbers)
    assert all(numbers - train for numbers in held_out)


def test_a_block_of_the_shuffle_holds_so_many_bytes_of_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.data.stream._BLOCK_MEDIA_BYTES", 10)
    rows = [{"image": {"data": "AAAA"}, "text": str(index)} for index in range(9)]  # three bytes each
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    stream = RecordStream(DatasetSpec(path=path), repeat=False)
    next(stream)
    assert len(stream._block) == 4
    assert len(list(stream)) == 8


@pytest.fixture(scope="module")
def processor() -> Processor:
    tokenizer = Tokenizer.train(["What is this? A cat. A dog."], 400)
    return Processor(tokenizer, config=model_of(seeing(), hearing()))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Class folders with pictures and recordings, some of them broken."""
    root = tmp_path / "pets"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index, colour in enumerate(("red", "green", "blue")):
            (root / name / f"{index}.png").write_bytes(picture(colour).data or b"")
        (root / name / "voice.wav").write_bytes(tone().data or b"")
    (root / "dog" / "cut.png").write_bytes((picture("red", (64, 64)).data or b"")[:60])
    (root / "dog" / "words.jpg").write_text("no picture")
    (root / "cat" / "empty.png").touch()
    (root / "cat" / "noise.wav").write_bytes(b"RIFF and noise")
    return root


def batches(spec: DatasetSpec, processor: Any) -> BatchStream:
    return BatchStream([spec], processor, rows=2, time=96, repeat=False, prefetch=0)


def test_broken_media_are_named_counted_and_skipped(pets: Path, processor: Processor) -> None:
    stream = batches(DatasetSpec(path=pets, max_bad=4), processor)
    n_documents = sum(int(batch.document_ids.max(dim=1).values.add(1).sum()) for batch in stream)
    assert n_documents == 8
    assert [line.split(": ")[0] for line in sorted(stream.bad)] == [
        "pets/cat/empty.png",
        "pets/cat/noise.wav",
        "pets/dog/cut.png",
        "pets/dog/words.jpg",
    ]
    assert f"{pets}/dog/words.jpg is no picture that can be read: it holds text" in " ".join(stream.bad)


def test_more_broken_media_than_the_limit_end_it(pets: Path, processor: Processor) -> None:
    with pytest.raises(
        DataError, match=r"pets: more than 3 corrupt records \(first: pets/.*; mend them or raise max_bad"
    ):
        list(batches(DatasetSpec(path=pets, max_bad=3), processor))


def test_broken_media_are_counted_once_however_many_epochs(pets: Path, processor: Processor) -> None:
    stream = BatchStream([DatasetSpec(path=pets, max_bad=4)], processor, rows=2, time=64, prefetch=0)
    for _ in range(40):
        next(stream)
    assert len(stream.bad) == 4


def test_a_stream_of_media_resumes_bit_for_bit(pets: Path, processor: Processor) -> None:
    spec = DatasetSpec(path=pets, max_bad=4)
    whole = batches(spec, processor)
    states = [whole.state_dict()]
    made = []
    for batch in whole:
        made.append(batch)
        states.append(whole.state_dict())
    for index, state in enumerate(states[:-1]):
        resumed = batches(spec, processor)
        resumed.load_state_dict(state)
        assert next(resumed).input_ids.equal(made[index].input_ids)
    (pets / "cat" / "more.png").write_bytes(picture("pink").data or b"")
    with pytest.raises(DataError, match="belongs to other data"):
        batches(spec, processor).load_state_dict(states[1])


def test_a_moved_folder_is_the_same_data(pets: Path, processor: Processor, tmp_path: Path) -> None:
    state = batches(DatasetSpec(path=pets), processor).state_dict()
    shutil.copytree(pets, tmp_path / "elsewhere" / "pets")
    batches(DatasetSpec(path=tmp_path / "elsewhere" / "pets"), processor).load_state_dict(state)


def test_records_say_what_they_hold() -> None:
    record = Record(about("What?", Image(data=b"abc"), Audio(data=b"de"), Image(url="x")), "there")
    assert record.media == (Image(data=b"abc"), Audio(data=b"de"), Image(url="x"))
    assert record.n_media_bytes == 5
    assert Record("words", "there").media == ()
