"""Batches of conversations that show and play things: every feature with its places, whole or not at all."""

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media_parts import AUDIO, IMAGE, hearing, model_of, picture, seeing, tone

from sensorium.config import AugmentConfig
from sensorium.data import batches as batches_module
from sensorium.data.batches import Batch, BatchStream
from sensorium.data.packing import pieces
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError, RequestError
from sensorium.messages import Audio, Image, Message, Part, Text
from sensorium.processing import Processor, Tokenizer
from sensorium.processing.media import Feature

WORDS = "what is this and that it is a red thing said once more one two three"
COLOURS = ("red", "green", "blue", "black", "white", "yellow")


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(Tokenizer.train([WORDS] * 3, 320), config=model_of(seeing(), hearing(window_seconds=1.0)))


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of few rows, so that short tests cross many."""
    monkeypatch.setattr(batches_module, "_GROUP_ROWS", 5)


def asked(*parts: Part | str, answer: str = "a red thing") -> list[Message]:
    shown = [Text(part) if isinstance(part, str) else part for part in parts]
    return [Message.user(shown), Message.assistant(answer)]


def talks(n: int) -> list[list[Message]]:
    """Conversations with none to three media, no two of the same words."""
    made = []
    for index in range(n):
        parts: list[Part | str] = [f"what is {index} "]
        parts += [picture(COLOURS[index % 6])] * (index % 3 > 0)
        parts += [tone(0.1 + 0.05 * (index % 7))] * (index % 4 == 1)
        parts += ["and ", picture(COLOURS[index % 5])] * (index % 5 == 2)
        made.append(asked(*parts))
    return made


def data(path: Path, conversations: Iterable[list[Message]], **settings: Any) -> DatasetSpec:
    lines = [json.dumps({"messages": [message.to_dict() for message in talk]}) for talk in conversations]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DatasetSpec(path=path, format="jsonl", shuffle_window=16, **settings)


def equal(a: Batch, b: Batch) -> bool:
    mine, theirs = (
        [batch.input_ids, batch.targets, batch.positions, batch.document_ids, *vars(batch.media).values()]
        for batch in (a, b)
    )
    return a.n_bytes == b.n_bytes and all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) else x is y
        for x, y in zip(mine, theirs, strict=True)
    )


def found_features(batch: Batch) -> list[tuple[int, int, int, str, np.ndarray]]:
    """Row, start, length, kind and values of all media of a batch."""
    found = []
    media = batch.media
    for kind, values, places in (
        ("image", media.images, media.image_places),
        ("audio", media.audio, media.audio_places),
    ):
        for index, (row, start, length) in enumerate(places.tolist()):
            assert values is not None
            value = values[index]
            if kind == "audio":
                value = value[:, : int(media.audio_frames[index])]
            found.append((row, start, length, kind, value.numpy()))
    return found


def test_every_feature_stands_with_its_document(tmp_path: Path, processor: Processor) -> None:
    """Whatever was packed beside it."""
    conversations = talks(60)
    stream = BatchStream([data(tmp_path / "a", conversations)], processor, rows=3, time=128, repeat=False)
    whole = {tuple(s.token_ids[:-1].tolist()): s for s in map(processor.encode_messages, conversations)}
    ids = processor.tokenizer.control_ids
    seen = 0
    for batch in stream:
        features = found_features(batch)
        stands = torch.isin(batch.input_ids, torch.tensor([ids[IMAGE], ids[AUDIO]]))
        assert int(stands.sum()) == sum(length for _, _, length, _, _ in features)
        assert not torch.isin(batch.targets, torch.tensor([ids[IMAGE], ids[AUDIO]])).any()
        for row, start, length, kind, values in features:
            place = batch.document_ids[row] == batch.document_ids[row, start]
            document = whole[tuple(batch.input_ids[row][place].tolist())]
            begin = int(place.nonzero()[0])
            (same,) = [f for f in document.features if (f.kind, f.start + begin) == (kind, start)]
            assert length == same.length
            assert np.array_equal(values, same.values)
            assert (batch.document_ids[row, start : start + length] == batch.document_ids[row, start]).all()
            seen += 1
    assert seen == sum(len(sequence.features) for sequence in whole.values())


@pytest.mark.parametrize("settings", [{"prefetch": 0}, {"prefetch": 2}, {"workers": 1}])
@pytest.mark.parametrize("augment", [None, AugmentConfig(flip=0.5, brightness=0.5, noise_db=20.0, time_masks=2)])
def test_a_stream_resumed_after_any_batch_goes_on_bit_for_bit(
    tmp_path: Path, processor: Processor, settings: dict[str, int], augment: AugmentConfig | None
) -> None:
    specs = [data(tmp_path / "a", talks(40), augment=augment), data(tmp_path / "b", talks(9), weight=0.3)]

    def fresh(**chosen: int) -> BatchStream:
        return BatchStream(specs, processor, rows=2, time=96, seed=3, **chosen)  # type: ignore[arg-type]

    stream = fresh(**settings)
    states, batches = [stream.state_dict()], []
    for batch in islice(stream, 20):
        batches.append(batch)
        states.append(stream.state_dict())
    assert stream.waited > 0
    stream.close()
    assert all(map(equal, islice(fresh(prefetch=0), 20), batches))
    for step in (1, 7, 16):
        resumed = fresh(**settings)
        resumed.load_state_dict(states[step])
        assert all(map(equal, islice(resumed, 20 - step), batches[step:]))
        assert resumed.state_dict() == states[-1]
        resumed.close()


def test_augmentation_varies_what_is_seen_and_nothing_else(tmp_path: Path, processor: Processor) -> None:
    conversations = [asked("what ", picture("#777777"), tone(0.3))]

    def first(augment: AugmentConfig | None, n: int) -> list[Batch]:
        spec = data(tmp_path / "a", conversations, augment=augment)
        return list(islice(BatchStream([spec], processor, rows=1, time=48, prefetch=0), n))

    (plain,) = first(None, 1)
    varied = first(AugmentConfig(brightness=0.9, noise_db=5.0), 3)
    assert all(torch.equal(batch.input_ids, plain.input_ids) for batch in varied)
    images = [batch.media.images for batch in [plain, *varied]]
    for index, image in enumerate(images):
        assert image is not None
        assert not any(torch.equal(image, other) for other in images[:index] if other is not None)


def test_shares_of_a_batch_take_their_media_along(tmp_path: Path, processor: Processor) -> None:
    batch = next(BatchStream([data(tmp_path / "a", talks(60))], processor, rows=5, time=128))
    shares = [batch.rows_of(rank, 2) for rank in range(2)]
    assert [len(share.input_ids) for share in shares] == [3, 2]
    rejoined = []
    for rank, share in enumerate(shares):
        assert torch.equal(share.targets, batch.targets[rank::2])
        assert share.n_bytes == batch.n_bytes
        rejoined += [(row * 2 + rank, *rest) for row, *rest in found_features(share)]
    whole = sorted(found_features(batch), key=lambda found: found[:4])
    for mine, theirs in zip(sorted(rejoined, key=lambda found: found[:4]), whole, strict=True):
        assert mine[:4] == theirs[:4]
        assert np.array_equal(mine[4], theirs[4])
    assert equal(batch.to("cpu"), batch)


def test_a_text_batch_has_no_media(tmp_path: Path, processor: Processor) -> None:
    batch = next(BatchStream([data(tmp_path / "a", [asked("what")])], processor, rows=2, time=32))
    assert not batch.media
    assert not batch.rows_of(1, 2).media


def test_broken_media_are_counted_and_named(tmp_path: Path, processor: Processor) -> None:
    broken = [
        asked("a", Image(data=b"no picture")),
        asked("b", Audio(data=b"no sound")),
        asked("c", Image(path=tmp_path / "missing.png")),
        asked("d", picture()),
    ]
    stream = BatchStream([data(tmp_path / "a", broken)], processor, rows=1, time=64, repeat=False, workers=1)
    assert sum(len(found_features(batch)) for batch in stream) == 1
    assert len(stream.bad) == 3
    where = tmp_path / "a"
    assert any(line.startswith(f"{where}:1: image of 10 bytes is no picture") for line in stream.bad)
    assert any(line.startswith(f"{where}:2: audio of 8 bytes is no recording") for line in stream.bad)
    assert any(line == f"{where}:3: {tmp_path / 'missing.png'} does not exist" for line in stream.bad)
    few = data(tmp_path / "b", broken, max_bad=2)
    with pytest.raises(DataError, match="more than 2 corrupt records"):
        list(BatchStream([few], processor, rows=1, time=64, repeat=False))


def test_what_a_model_cannot_take_ends_the_run(tmp_path: Path, processor: Processor) -> None:
    blind = Processor(processor.tokenizer)
    with pytest.raises(RequestError, match="cannot see images"):
        next(BatchStream([data(tmp_path / "a", talks(3))], blind, rows=1, time=64))


def test_a_feature_beyond_a_row_is_never_cut_off(tmp_path: Path, processor: Processor) -> None:
    """An exchange that loses words alone is cut; one that would lose a feature is rejected."""
    long = "it is a red thing " * 9
    conversations = [asked("what ", picture(), answer=long), asked(long, picture())]
    stream = BatchStream([data(tmp_path / "a", conversations)], processor, rows=1, time=48, repeat=False)
    (batch,) = stream
    assert len(found_features(batch)) == 1
    assert batch.n_tokens == 48
    assert stream.truncated == 1
    one = "1 of its 1 pictures and recordings"
    assert stream.bad == [f"{tmp_path / 'a'}:2: longer than a row of 48 tokens, which would cut off {one}"]


def test_a_recording_longer_than_a_row_is_rejected_and_none_is_an_error(tmp_path: Path, processor: Processor) -> None:
    spec = data(tmp_path / "a", [asked(tone(8.0))])
    with pytest.raises(DataError, match=r"no usable record.*1 corrupt: .*longer than a row of 32 tokens.*longer rows"):
        next(BatchStream([spec], processor, rows=1, time=32))


def test_a_long_conversation_is_cut_where_something_new_is_shown(tmp_path: Path, processor: Processor) -> None:
    """What follows a picture may be about it, and is not learned without it."""
    talk = [
        *asked("what is this ", picture("red"), answer="one"),
        *asked("and that " * 8, answer="two"),
        *asked("and that ", answer="three"),
        *asked("what is this ", picture("blue"), answer="a"),
        *asked("and that ", answer="it is"),
    ]
    stream = BatchStream([data(tmp_path / "a", [talk])], processor, rows=1, time=32, repeat=False)
    said = []
    for batch in stream:
        learned = batch.targets[batch.targets >= 0].tolist()
        said.append(processor.tokenizer.decode(learned))
        assert len(found_features(batch)) == 1
    assert sorted(said) == ["ait is", "one"]
    assert stream.truncated == 2


def test_groups_of_large_pictures_are_small(
    tmp_path: Path, processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = data(tmp_path / "a", talks(60))

    def drawn_at_once() -> int:
        stream = BatchStream([spec], processor, rows=1, time=64, prefetch=0)
        next(stream)
        return sum(stream._maker._mixture.drawn)

    monkeypatch.setattr(batches_module, "_GROUP_ROWS", 20)
    whole = drawn_at_once()
    monkeypatch.setattr(batches_module, "_GROUP_BYTES", 1)
    assert 8 * 64 <= drawn_at_once() < 9 * 64 < whole


def test_pieces_take_the_features_of_their_window() -> None:
    ids, learned = np.arange(11, dtype=np.int32), np.ones(11, dtype=bool)
    values = np.zeros((3, 2, 2), np.float32)
    features = [Feature("image", 1, 3, values), Feature("image", 6, 4, values)]
    first, second = pieces(ids, learned, 5, features=features)
    assert [(f.start, f.length) for f in first.features] == [(1, 3)]
    assert [(f.start, f.length) for f in second.features] == [(1, 4)]
    with pytest.raises(DataError, match="longer than a row of 4 tokens, which would cut off 1 of its 2"):
        list(pieces(ids, learned, 4, features=features))
