"""The world as a stream: exact resume, other records for other seeds, the same ones for validation."""

import json
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.config import Config
from sensorium.data import batches as batches_module
from sensorium.data.batches import BatchStream
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.data.streams import record_stream
from sensorium.data.world import stream as stream_module
from sensorium.data.world.stream import WorldStream
from sensorium.errors import ConfigError, DataError
from sensorium.messages import Audio, Image

EPOCH = 60


@pytest.fixture(autouse=True)
def short_epochs_and_small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that short tests cross many."""
    monkeypatch.setattr(stream_module, "EPOCH", EPOCH)
    monkeypatch.setattr(batches_module, "_GROUP_ROWS", 5)


def spec(split: str = "train", **settings: Any) -> DatasetSpec:
    return DatasetSpec.parse({"world": {"kinds": ["caption", "vqa"], "size": 16}, "split": split, **settings}, "recipe")


def stream(split: str = "train", *, seed: int = 0, limit: int | None = None, **options: Any) -> WorldStream:
    made = record_stream(spec(split, limit=limit), seed=seed, media=False, **options)
    assert isinstance(made, WorldStream)
    return made


def places(made: WorldStream, n: int) -> list[str]:
    return [record.where for record in islice(made, n)]


def numbers(split: str, *values: int) -> list[str]:
    return [f"world:{split}:{value}" for value in values]


def test_training_never_meets_a_record_twice_and_seeds_differ() -> None:
    one = places(stream(seed=1), EPOCH + 50)
    assert len(set(one)) == len(one)
    assert places(stream(seed=1), 50) == one[:50]
    assert not set(places(stream(seed=2), 100)) & set(one)


@pytest.mark.parametrize("options", [{"seed": 1}, {"seed": 2}, {"shuffle": False}])
def test_validation_is_the_same_records_in_order(options: dict[str, Any]) -> None:
    assert places(stream("validation", limit=5, repeat=False, **options), 99) == numbers("validation", *range(5))


def test_a_validation_split_has_an_end() -> None:
    assert len(places(stream("validation", repeat=False), 10**6)) == EPOCH
    assert len(places(stream("train", repeat=False), 10**6)) == EPOCH


def test_repeated_validation_begins_again() -> None:
    assert places(stream("validation", limit=2), 5) == numbers("validation", 0, 1, 0, 1, 0)


def test_a_limit_gives_the_same_records_in_another_order_every_epoch() -> None:
    made = stream(seed=3, limit=20)
    epochs = [places(made, 20) for _ in range(3)]
    assert len(set(map(tuple, epochs))) == 3
    assert all(sorted(epoch) == sorted(numbers("train", *range(20))) for epoch in epochs)
    assert places(stream(limit=3, shuffle=False), 3) == numbers("train", 0, 1, 2)


@given(st.sampled_from(("train", "validation")), st.sampled_from((None, 3, 7)), st.integers(0, 20), st.integers(0, 9))
@settings(max_examples=30)
def test_a_stream_goes_on_from_its_state(split: str, limit: int | None, n: int, seed: int) -> None:
    made = stream(split, seed=seed, limit=limit)
    places(made, n)
    state = json.loads(json.dumps(made.state_dict()))
    expected = places(made, 8)
    resumed = stream(split, seed=seed, limit=limit)
    resumed.load_state_dict(state)
    assert places(resumed, 8) == expected


def test_too_many_rejected_records_are_an_error() -> None:
    made = record_stream(spec(max_bad=2), media=False)
    for _ in range(2):
        made.reject(next(made), "too long")
    assert len(made.ledger) == 2
    with pytest.raises(DataError, match="the world of caption, vqa: more than 2 corrupt records"):
        made.reject(next(made), "too long")


@pytest.mark.parametrize("repeat", [True, False])
def test_an_epoch_without_a_usable_record_is_an_error(repeat: bool) -> None:
    made = stream("validation", limit=3, repeat=repeat)
    for _ in range(3):
        next(made)
        made.pass_over()
    with pytest.raises(DataError, match="holds no usable record in its validation split: give it longer rows"):
        next(made)


@pytest.mark.usefixtures("world_extra")
def test_records_come_with_pictures_and_recordings_unless_words_alone_are_wanted() -> None:
    both = DatasetSpec(world={"kinds": ["caption", "dictation"], "size": 16}, split="train")
    parts = [part for record in islice(record_stream(both), 20) for message in record.content for part in message.parts]
    assert {Image, Audio} <= set(map(type, parts))
    alone = islice(record_stream(both, media=False), 20)
    assert not any(isinstance(part, Image | Audio) for r in alone for message in r.content for part in message.parts)


def test_files_are_read_by_a_stream_of_files(tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("A text.")
    assert isinstance(record_stream(DatasetSpec(path=tmp_path)), RecordStream)


def test_batches_of_the_world_resume_to_the_bit(encoder: Any) -> None:
    def batches(seed: int = 0) -> BatchStream:
        return BatchStream([spec()], encoder, rows=2, time=256, seed=seed, prefetch=0)

    made = batches()
    for _ in range(3):
        next(made)
    state = made.state_dict()
    expected = next(made)
    resumed = batches()
    resumed.load_state_dict(state)
    assert next(resumed).input_ids.equal(expected.input_ids)
    with pytest.raises(DataError, match="belongs to other data or settings"):
        batches(seed=1).load_state_dict(state)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"split": "all"}, "a world needs split: train or validation"),
        ({"path": "x"}, "a data set needs exactly one of source, path and world"),
        ({"include": ["*.txt"]}, "include says how files are read, and a world has none"),
        ({"prompts": ["Tell me."]}, "prompts says how files are read"),
        ({"validation_fraction": 0.5}, "validation_fraction says how files are read"),
        ({"world": {"kind": ["caption"]}}, r"unknown key 'world.kind' \(did you mean 'kinds'\?\)"),
    ],
)
def test_settings_that_do_not_fit_are_errors(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=f"^recipe: {why}"):
        spec(**settings)


def test_a_spec_survives_being_written_and_read() -> None:
    made = spec("validation", limit=5)
    assert isinstance(made, Config)
    assert DatasetSpec.model_validate(json.loads(made.model_dump_json())) == made
