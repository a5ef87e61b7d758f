import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data import stream as stream_module
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream, content_hash
from sensorium.errors import DataError


def folder_of(root: Path, files: Iterable[Iterable[object]]) -> Path:
    root.mkdir(exist_ok=True)
    for index, records in enumerate(files):
        lines = [line if isinstance(line, str) else json.dumps(line) for line in records]
        (root / f"part{index}.jsonl").write_text("\n".join(lines) + "\n")
    return root


def numbered(n: int, start: int = 0) -> list[dict[str, str]]:
    return [{"text": f"record {index}"} for index in range(start, start + n)]


def texts(records: Iterable[Record]) -> list[str]:
    return [str(record.content) for record in records]


def take(stream: RecordStream, n: int) -> list[str]:
    return [str(next(stream).content) for _ in range(n)]


@pytest.fixture
def three_files(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "data", [numbered(7), numbered(1, 7), numbered(12, 8)])


def test_each_epoch_holds_every_record_once_in_an_order_of_its_own(three_files: Path) -> None:
    stream = RecordStream(DatasetSpec(path=three_files, shuffle_window=4), seed=3)
    epochs = [take(stream, 20) for _ in range(3)]
    everything = sorted(record["text"] for record in numbered(20))
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] == take(RecordStream(DatasetSpec(path=three_files, shuffle_window=4), seed=3), 20)
    assert epochs[0] != take(RecordStream(DatasetSpec(path=three_files, shuffle_window=4), seed=4), 20)


def test_without_shuffle_the_files_come_in_order(three_files: Path) -> None:
    stream = RecordStream(DatasetSpec(path=three_files), shuffle=False, repeat=False)
    assert texts(stream) == [record["text"] for record in numbered(20)]
    with pytest.raises(StopIteration):
        next(stream)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    window=st.integers(1, 12),
    stop=st.integers(0, 40),
    seed=st.integers(0, 5),
    options=st.sampled_from([{}, {"limit": 5}, {"split": "train", "validation_fraction": 0.3}]),
)
def test_a_stream_resumed_at_any_record_goes_on_as_if_uninterrupted(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    window: int,
    stop: int,
    seed: int,
    options: dict[str, Any],
) -> None:
    files = [numbered(size, 10 * index) for index, size in enumerate(sizes)]
    root = folder_of(tmp_path_factory.mktemp("resume") / "data", files)
    spec = DatasetSpec(path=root, shuffle_window=window, **options)
    stream = RecordStream(spec, seed=seed)
    try:
        take(stream, stop)
    except DataError:  # a split of so few records may be empty
        return
    state = json.loads(json.dumps(stream.state_dict()))
    resumed = RecordStream(spec, seed=seed)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    if stop:
        assert take(resumed, 30) == take(stream, 30)


def test_a_block_may_end_by_its_characters_and_resumes_there(
    three_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_BLOCK_CHARACTERS", 25)
    stream = RecordStream(DatasetSpec(path=three_files))
    take(stream, 5)
    resumed = RecordStream(DatasetSpec(path=three_files))
    resumed.load_state_dict(stream.state_dict())
    assert take(resumed, 60) == take(stream, 60)


def test_limit_keeps_the_same_first_records_in_every_epoch(three_files: Path) -> None:
    stream = RecordStream(DatasetSpec(path=three_files, limit=9, shuffle_window=4))
    first = [record["text"] for record in numbered(9)]
    assert sorted(take(stream, 9)) == sorted(take(stream, 9)) == sorted(first)


def test_splits_are_disjoint_complete_and_of_the_asked_size(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", [numbered(3000)])
    train, validation = (
        set(texts(RecordStream(DatasetSpec(path=root, split=split, validation_fraction=0.1), repeat=False)))
        for split in ("train", "validation")
    )
    assert not train & validation
    assert len(train | validation) == 3000
    assert 240 < len(validation) < 360


def test_copies_fall_on_the_same_side_whatever_their_case_and_spacing() -> None:
    assert content_hash("Once upon a time.\nThe end.") == content_hash(" once UPON a  time.\n\n the end.\n")
    assert content_hash("Once upon a time.") != content_hash("Once upon a tide.")


def test_corrupt_records_are_counted_once_and_named(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", [[*numbered(3), "{broken", *numbered(3, 3)], ['{"txt": 1}', *numbered(2, 6)]])
    stream = RecordStream(DatasetSpec(path=root), shuffle=False)
    take(stream, 40)  # several epochs
    assert len(stream.ledger) == 2
    assert stream.ledger.first() == [
        "data/part0.jsonl:4: not JSON: Expecting property name enclosed in double quotes at column 2",
        "data/part1.jsonl:1: a record needs exactly one of 'text' and 'messages' (it has txt)",
    ]


def test_too_many_corrupt_records_are_an_error_that_names_some(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", [[*numbered(3), "{", "{", "{"]])
    assert len(take(RecordStream(DatasetSpec(path=root, max_bad=3)), 3)) == 3
    with pytest.raises(DataError, match=r"more than 2 corrupt records \(first: data/part0.jsonl:4: .*raise max_bad"):
        next(RecordStream(DatasetSpec(path=root, max_bad=2)))


@pytest.mark.parametrize("repeat", [True, False])
def test_data_without_a_usable_record_is_an_error(tmp_path: Path, repeat: bool) -> None:
    root = folder_of(tmp_path / "data", [["", "{"]])
    with pytest.raises(DataError, match=r"holds no usable record \(1 corrupt: data/part0.jsonl:2: .*\): give it"):
        next(RecordStream(DatasetSpec(path=root), repeat=repeat))
    root = folder_of(tmp_path / "one", [numbered(1)])
    splits = []
    for split in ("train", "validation"):
        try:
            splits += take(RecordStream(DatasetSpec(path=root, split=split), repeat=repeat), 1)
        except DataError as error:
            assert f"no usable record in its {split} split" in str(error)  # noqa: PT017 (one of two must fail)
    assert splits == ["record 0"]


def test_records_that_prove_useless_do_not_count_as_usable(three_files: Path) -> None:
    rejected = RecordStream(DatasetSpec(path=three_files, max_bad=50), shuffle=False)
    for _ in range(20):
        rejected.reject(next(rejected), "too dull")
    with pytest.raises(DataError, match=r"no usable record \(20 corrupt: data/part0.jsonl:1: too dull\)"):
        next(rejected)
    passed = RecordStream(DatasetSpec(path=three_files))
    for _ in range(20):
        next(passed)
        passed.pass_over()
    with pytest.raises(DataError, match="no usable record: give it more data, longer rows"):
        next(passed)
