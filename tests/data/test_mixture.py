import json
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sensorium.data.batches import BatchStream
from sensorium.data.mixture import Mixture
from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError


def texts(path: Path, n: int, **settings: Any) -> DatasetSpec:
    path.write_text("".join(json.dumps({"text": f"{path.stem} {index}"}) + "\n" for index in range(n)))
    return DatasetSpec(path=path, **settings)


def words(record: Record, _: Any) -> list[str]:
    assert isinstance(record.content, str)
    if record.content.endswith("3"):
        raise DataError("threes are broken")
    return [] if record.content.endswith("4") else [record.content]


def mixed(*specs: DatasetSpec, repeat: bool = False) -> Mixture[Any]:
    return Mixture(specs, None, ("any",), seed=5, repeat=repeat)


def test_what_is_drawn_keeps_to_the_shares_in_the_unit_it_is_counted_in(tmp_path: Path) -> None:
    mixture = mixed(texts(tmp_path / "a.jsonl", 50), texts(tmp_path / "b.jsonl", 50, weight=3), repeat=True)
    drawn = [word for _ in range(80) for word in mixture.draw(words, lambda _: 2)]
    of_a = sum(word.startswith("a") for word in drawn)
    assert mixture.drawn == [2 * of_a, 2 * (len(drawn) - of_a)]
    assert abs(3 * of_a - (len(drawn) - of_a)) <= 3


def test_every_record_comes_once_but_what_is_broken_or_of_no_use(tmp_path: Path) -> None:
    mixture = mixed(texts(tmp_path / "a.jsonl", 6), texts(tmp_path / "b.jsonl", 2))
    drawn = []
    while mixture.live:
        drawn += mixture.draw(words, lambda _: 1)
    assert sorted(drawn) == ["a 0", "a 1", "a 2", "a 5", "b 0", "b 1"]
    assert mixture.bad == [f"{tmp_path / 'a.jsonl'}:4: threes are broken"]


@pytest.mark.parametrize("met", [0, 1, 7])
def test_what_another_process_is_handed_goes_on_where_the_first_stood(tmp_path: Path, encoder: Any, met: int) -> None:
    specs = [texts(tmp_path / "a.jsonl", 40), texts(tmp_path / "b.jsonl", 40)]
    stream = BatchStream(specs, encoder, rows=2, time=32, prefetch=0)
    assert len(list(islice(stream, met))) == met
    stream.close()
    copy = pickle.loads(pickle.dumps(stream._maker))
    expected = list(islice(stream, 6))
    for (batch, _), wanted in zip(islice(copy.batches(), 6), expected, strict=True):
        assert batch.input_ids.equal(wanted.input_ids)


def test_no_data_set_is_an_error() -> None:
    with pytest.raises(DataError, match="needs at least one"):
        mixed()
