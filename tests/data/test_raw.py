"""Bare pictures and recordings in batches, the same for the same seed, from wherever a stage goes on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from making import make_config
from media_parts import picture, tone
from pairing import pairs_file

from sensorium.data.raw import RawBatch, RawStream
from sensorium.data.spec import DatasetSpec
from sensorium.messages import Message, Part, Text
from sensorium.processing.raw import RawMedia

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "orange")


def spec(entry: dict[str, Any], **settings: Any) -> list[DatasetSpec]:
    return [DatasetSpec.parse({**entry, **settings}, "test")]


@pytest.fixture
def seen(tmp_path: Path) -> list[DatasetSpec]:
    return spec(pairs_file(tmp_path / "seen.jsonl", [(picture(colour), colour) for colour in COLOURS]))


@pytest.fixture
def heard(tmp_path: Path) -> list[DatasetSpec]:
    return spec(pairs_file(tmp_path / "heard.jsonl", [(tone(0.1 * n), str(n)) for n in range(1, 6)]))


def stream(specs: Sequence[DatasetSpec], kind: Any, *, rows: int = 3, **settings: Any) -> RawStream:
    return RawStream(specs, RawMedia(make_config()), kind, rows=rows, **{"repeat": False, "prefetch": 0, **settings})


def test_pictures_come_as_pixels_each_once(seen: list[DatasetSpec]) -> None:
    batches = list(stream(seen, "image"))
    assert [batch.values.shape for batch in batches] == [(3, 3, 8, 12), (3, 3, 8, 12), (1, 3, 8, 12)]
    corners = {tuple(row[:, 0, 0].tolist()) for batch in batches for row in batch.values}
    assert len(corners) == len(COLOURS)
    assert (1.0, -1.0, -1.0) in corners
    assert all(batch.lengths.tolist() == [0] * len(batch.values) for batch in batches)


def test_recordings_come_whole_silent_behind_shorter_ones(heard: list[DatasetSpec]) -> None:
    batches = list(stream(heard, "audio", rows=5))
    (batch,) = batches
    assert sorted(batch.lengths.tolist()) == [400, 800, 1_200, 1_600, 2_000]
    assert batch.values.shape == (5, 2_000)
    for row, length in zip(batch.values, batch.lengths.tolist(), strict=True):
        assert row[length:].abs().sum() == 0
        assert row[:length].abs().max() > 0.3


def test_only_what_is_asked_for_is_taken_whoever_shows_it(tmp_path: Path) -> None:
    talk: list[tuple[Part, ...]] = [(picture("red"), tone(0.2)), (Text("nothing"),), (tone(0.3), picture("blue"))]
    path = tmp_path / "talk.jsonl"
    pairs_file(path, [])
    import json

    lines = [
        json.dumps({"messages": [Message.user("?").to_dict(), Message.assistant(parts).to_dict()]}) for parts in talk
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    specs = spec({"path": str(path), "format": "jsonl"})
    assert sum(len(batch.values) for batch in stream(specs, "image")) == 2
    assert sorted(n for batch in stream(specs, "audio") for n in batch.lengths.tolist()) == [800, 1_200]


def test_the_same_seed_gives_the_same_batches(seen: list[DatasetSpec]) -> None:
    def found(seed: int) -> list[torch.Tensor]:
        return [batch.values for batch in islice(stream(seen, "image", seed=seed, repeat=True), 6)]

    first, again, other = found(1), found(1), found(2)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(first, other, strict=True))


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_a_stream_goes_on_from_its_cursor(seen: list[DatasetSpec], heard: list[DatasetSpec], kind: str) -> None:
    specs = spec(
        {"path": seen[0].path if kind == "image" else heard[0].path, "format": "jsonl"},
        augment={"brightness": 0.4, "gain_db": 6.0},
    )
    whole = stream(specs, kind, repeat=True, rows=2, prefetch=2)
    for _ in islice(whole, 3):
        pass
    state = whole.state_dict()
    other = stream(specs, kind, repeat=True, rows=2, prefetch=2)
    other.load_state_dict(state)
    for _ in range(5):
        one, two = next(whole), next(other)
        assert torch.equal(one.values, two.values)
        assert torch.equal(one.lengths, two.lengths)
    whole.close()
    other.close()


def test_processes_share_the_rows_of_a_batch() -> None:
    batch = RawBatch(torch.arange(5.0)[:, None], torch.arange(5), torch.zeros(5, 0))
    shares = [batch.rows_of(rank, 2) for rank in (0, 1)]
    assert [share.lengths.tolist() for share in shares] == [[0, 2, 4], [1, 3]]
    assert [share.values.flatten().tolist() for share in shares] == [[0.0, 2.0, 4.0], [1.0, 3.0]]
    assert [share.references.shape for share in shares] == [(3, 0), (2, 0)]
    assert torch.equal(batch.to("cpu").values, batch.values)
