import gc
import json
import threading
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.config import TransformerConfig
from sensorium.data import batches as batches_module
from sensorium.data.batches import Batch, BatchStream
from sensorium.data.encoding import split_exchanges
from sensorium.data.spec import DatasetSpec
from sensorium.errors import DataError
from sensorium.messages import Message
from sensorium.nn.transformer import Transformer

TALK = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you."},
]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of few rows, so that short tests cross many."""
    monkeypatch.setattr(batches_module, "_GROUP_ROWS", 5)


def jsonl(path: Path, records: Iterable[object]) -> DatasetSpec:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return DatasetSpec(path=path, format="jsonl", shuffle_window=16)


def words(n: int, start: int = 0) -> list[dict[str, str]]:
    """Documents of 4 to 60 bytes, each telling its number."""
    return [{"text": f"<{start + index}>" + "é" * (index * 7 % 29)} for index in range(n)]


def equal(a: Batch, b: Batch) -> bool:
    names = ("input_ids", "targets", "positions", "document_ids")
    return a.n_bytes == b.n_bytes and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def documents(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of each document of a batch."""
    found = []
    for row in range(len(batch.input_ids)):
        for document in range(int(batch.document_ids[row].max()) + 1):
            place = batch.document_ids[row] == document
            found.append((batch.input_ids[row][place].tolist(), batch.targets[row][place].tolist()))
    return found


def test_batches_hold_every_document_once_and_whole(tmp_path: Path, encoder: Any) -> None:
    records = words(50)
    stream = BatchStream([jsonl(tmp_path / "a", records)], encoder, rows=3, time=80, repeat=False)
    batches = list(stream)
    found = [document for batch in batches for document in documents(batch)]
    ids = [encoder.encode_text(record["text"]).token_ids.tolist() for record in records]
    assert sorted(found) == sorted((whole[:-1], whole[1:]) for whole in ids)
    assert sum(batch.n_bytes for batch in batches) == sum(len(record["text"].encode()) for record in records)
    assert sum(batch.n_learned for batch in batches) == sum(len(whole) - 1 for whole in ids)
    assert sum(batch.n_tokens for batch in batches) == sum(len(whole) - 1 for whole in ids)
    with pytest.raises(StopIteration):
        next(stream)


def test_rows_keep_documents_apart(tmp_path: Path, encoder: Any) -> None:
    batch = next(BatchStream([jsonl(tmp_path / "a", words(50))], encoder, rows=4, time=80))
    assert batch.input_ids.shape == batch.targets.shape == batch.positions.shape == batch.document_ids.shape == (4, 80)
    assert all(tensor.dtype == torch.int64 for tensor in (batch.input_ids, batch.targets, batch.document_ids))
    for row in range(4):
        ids, positions, targets = batch.document_ids[row], batch.positions[row], batch.targets[row]
        real = ids[ids >= 0]
        assert (real.diff() >= 0).all()
        assert (ids[len(real) :] == -1).all()
        assert (targets[ids == -1] == -100).all()
        starts = torch.cat([torch.tensor([True]), ids.diff() != 0])
        assert ((positions == 0) == starts | (ids == -1)).all()
        assert (positions.diff()[(~starts[1:]) & (ids[1:] >= 0)] == 1).all()
        # The last place of a document predicts its end, never the first token of the next.
        ends = torch.cat([starts[1:], torch.tensor([True])]) & (ids >= 0)
        assert (targets[ends] == encoder.eos).all()
        assert (batch.input_ids[row][starts & (ids >= 0)] == encoder.bos).all()


def test_a_model_learns_from_packed_documents_what_it_learns_from_each_alone(tmp_path: Path, encoder: Any) -> None:
    config = TransformerConfig(vocab_size=263, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_positions=64)
    model = Transformer(config)
    model.reset_parameters(torch.Generator().manual_seed(0))
    for parameter in model.parameters():
        parameter.data.mul_(8.0)  # sharp attention, so that a glance across a seam would show
    batch = next(BatchStream([jsonl(tmp_path / "a", words(50))], encoder, rows=3, time=64))
    alone = [model.loss(torch.tensor([inputs]), torch.tensor([targets])).item() for inputs, targets in documents(batch)]
    assert len(alone) > 3
    places = {"positions": batch.positions, "document_ids": batch.document_ids}
    assert model.loss(batch.input_ids, batch.targets, **places).item() == pytest.approx(sum(alone), rel=1e-5)
    blurred = model.loss(batch.input_ids, batch.targets, positions=batch.positions).item()
    assert blurred != pytest.approx(sum(alone), rel=1e-3)


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("repeat", [True, False])
def test_a_stream_resumed_after_any_batch_goes_on_bit_for_bit(
    tmp_path: Path, encoder: Any, prefetch: int, repeat: bool
) -> None:
    specs = [
        jsonl(tmp_path / "a", words(60)),
        jsonl(tmp_path / "b", [*words(25, 100), {"messages": TALK}]).model_copy(update={"weight": 0.5}),
    ]

    def fresh() -> BatchStream:
        return BatchStream(specs, encoder, rows=2, time=64, seed=7, repeat=repeat, prefetch=prefetch)

    stream = fresh()
    states, batches = [stream.state_dict()], []
    for batch in islice(stream, 40):
        batches.append(batch)
        states.append(json.loads(json.dumps(stream.state_dict())))
    assert len(batches) > 15
    for step in range(0, len(states), 3):
        resumed = fresh()
        resumed.load_state_dict(states[step])
        assert resumed.state_dict() == states[step]
        following = list(islice(resumed, len(batches) - step))
        assert len(following) == len(batches) - step
        assert all(map(equal, following, batches[step:]))
        assert resumed.state_dict() == states[-1]
        if not repeat:
            assert next(resumed, None) is None
    stream.load_state_dict(states[4])  # also back, in a stream that went on
    assert equal(next(stream), batches[4])


def test_prefetching_changes_nothing(tmp_path: Path, encoder: Any) -> None:
    specs = [jsonl(tmp_path / "a", words(60))]
    ahead, plain = (BatchStream(specs, encoder, rows=2, time=64, prefetch=n) for n in (4, 0))
    assert all(equal(next(ahead), next(plain)) for _ in range(30))
    ahead.close()
    assert ahead.state_dict() == plain.state_dict()
    assert equal(next(ahead), next(plain))


def test_an_abandoned_stream_leaves_no_thread_behind(tmp_path: Path, encoder: Any) -> None:
    before = set(threading.enumerate())
    stream = BatchStream([jsonl(tmp_path / "a", words(60))], encoder, rows=2, time=64, prefetch=1)
    next(stream)
    (thread,) = set(threading.enumerate()) - before
    del stream
    gc.collect()
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_of_the_data_arrives_where_its_batch_would(tmp_path: Path, encoder: Any, prefetch: int) -> None:
    spec = jsonl(tmp_path / "a", [*words(20), *range(5)]).model_copy(update={"max_bad": 4, "shuffle_window": 4})
    stream = BatchStream([spec], encoder, rows=1, time=64, prefetch=prefetch, shuffle=False)
    with pytest.raises(DataError, match="more than 4 corrupt records"):
        list(stream)
    with pytest.raises((DataError, StopIteration)):
        next(stream)


@settings(max_examples=20)
@given(weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=4), seed=st.integers(0, 9))
def test_a_mixture_keeps_its_shares_of_tokens(
    tmp_path_factory: pytest.TempPathFactory, encoder: Any, weights: list[float], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    specs = [
        jsonl(folder / f"{index}", words(10 + 7 * index)).model_copy(update={"weight": weight})
        for index, weight in enumerate(weights)
    ]
    stream = BatchStream(specs, encoder, rows=4, time=64, seed=seed, prefetch=0)
    for _ in range(30):
        next(stream)
    drawn = stream.tokens_drawn
    for tokens, weight in zip(drawn, weights, strict=True):
        # No data set is ahead or behind by more than one document.
        assert abs(tokens / weight - sum(drawn) / sum(weights)) * min(weight, min(weights)) <= 64


def test_a_data_set_that_ends_leaves_the_mixture_to_the_others(tmp_path: Path, encoder: Any) -> None:
    specs = [jsonl(tmp_path / "a", words(5)), jsonl(tmp_path / "b", words(50, 100))]
    stream = BatchStream(specs, encoder, rows=2, time=64, repeat=False)
    found = [bytes(token for token in ids if token < 256) for batch in stream for ids, _ in documents(batch)]
    assert sorted(found) == sorted(record["text"].encode() for record in words(5) + words(50, 100))


def test_only_the_assistants_words_are_learned(tmp_path: Path, encoder: Any) -> None:
    (batch,) = BatchStream([jsonl(tmp_path / "a", [{"messages": TALK}])], encoder, rows=1, time=80, repeat=False)
    learned = batch.targets[batch.targets >= 0].tolist()
    assert learned == [*b"Hello!", encoder.end, *b"See you.", encoder.end]
    assert batch.n_bytes == len(b"Hello!See you.")


def test_a_long_conversation_is_cut_between_exchanges(tmp_path: Path, encoder: Any) -> None:
    exchanges = [("q" * n, "a" * n) for n in (5, 9, 3, 14, 6)]
    turns = [turn for pair in exchanges for turn in zip(("user", "assistant"), pair, strict=True)]
    talk = [TALK[0], *({"role": role, "content": content} for role, content in turns)]
    stream = BatchStream([jsonl(tmp_path / "a", [{"messages": talk}])], encoder, rows=1, time=50, repeat=False)
    rows = [ids for batch in stream for ids, _ in documents(batch)]
    opening = [encoder.roles["system"], *b"Be kind.", encoder.end]
    assert all(row[: len(opening) + 1] == [*opening, encoder.roles["user"]] for row in rows)
    answered = [bytes(token for token in row if token == ord("a")) for row in rows]
    assert sorted(map(len, answered)) == [3, 6, 14, 14]  # 5 and 9 together, then 3, 14 and 6 alone
    assert stream.truncated == 0


def test_an_exchange_longer_than_a_row_loses_its_end_and_is_counted(tmp_path: Path, encoder: Any) -> None:
    talk = [{"role": "user", "content": "q" * 10}, {"role": "assistant", "content": "a" * 60}]
    lost = [{"role": "user", "content": "q" * 60}, {"role": "assistant", "content": "a"}]
    specs = [jsonl(tmp_path / "a", [{"messages": talk}, {"messages": lost}])]
    stream = BatchStream(specs, encoder, rows=1, time=32, repeat=False)
    ((ids, targets),) = [document for batch in stream for document in documents(batch)]
    assert len(ids) == 32
    assert [target for target in targets if target >= 0] == [ord("a")] * 20
    assert (stream.truncated, stream.bad) == (2, [])
    endless = BatchStream([jsonl(tmp_path / "b", [{"messages": lost}])], encoder, rows=1, time=32)
    with pytest.raises(DataError, match=r"no usable record.*longer rows"):
        next(endless)


def test_a_conversation_without_an_answer_is_corrupt(tmp_path: Path, encoder: Any) -> None:
    spec = jsonl(tmp_path / "a", [{"messages": TALK[:2]}, {"messages": TALK}])
    stream = BatchStream([spec], encoder, rows=1, time=80, repeat=False)
    assert len(list(stream)) == 1
    assert stream.bad == [f"{tmp_path / 'a'}:1: nothing is learned from it: it has no assistant turn, or no token"]


def test_a_long_document_becomes_windows(tmp_path: Path, encoder: Any) -> None:
    text = "".join(chr(97 + index % 26) for index in range(200))
    (*found,) = BatchStream([jsonl(tmp_path / "a", [{"text": text}])], encoder, rows=1, time=32, repeat=False)
    targets = [target for batch in found for _, targets in documents(batch) for target in targets]
    assert sorted(targets) == sorted([*text.encode(), encoder.eos])
    assert sum(batch.n_bytes for batch in found) == 200


def test_without_shift_targets_stand_where_their_tokens_do(tmp_path: Path, encoder: Any) -> None:
    for batch in BatchStream([jsonl(tmp_path / "a", words(30))], encoder, rows=2, time=64, repeat=False, shift=False):
        learned = batch.targets >= 0
        assert torch.equal(batch.targets[learned], batch.input_ids[learned])
        assert ((batch.input_ids == encoder.bos) == (batch.positions == 0) & (batch.document_ids >= 0)).all()
        assert (learned == (batch.document_ids >= 0) & (batch.input_ids != encoder.bos)).all()


def test_a_state_of_other_data_is_refused(tmp_path: Path, encoder: Any) -> None:
    state = BatchStream([jsonl(tmp_path / "a", words(30))], encoder, rows=2, time=64).state_dict()
    for other in (
        BatchStream([jsonl(tmp_path / "a", words(30))], encoder, rows=2, time=64, seed=1),
        BatchStream([jsonl(tmp_path / "a", words(30))], encoder, rows=2, time=32),
        BatchStream([jsonl(tmp_path / "a", words(31))], encoder, rows=2, time=64),
    ):
        with pytest.raises(DataError, match="belongs to other data or settings"):
            other.load_state_dict(state)
    (tmp_path / "moved").mkdir()
    moved = BatchStream([jsonl(tmp_path / "moved" / "a", words(30))], encoder, rows=4, time=64)
    moved.load_state_dict(state)  # where the files lie, and how many rows a batch has, may change


def test_no_data_set_at_all_is_an_error(encoder: Any) -> None:
    with pytest.raises(DataError, match="at least one"):
        BatchStream([], encoder, rows=1, time=8)


def test_exchanges_begin_with_the_user() -> None:
    opening, exchanges = split_exchanges([Message.from_dict(message) for message in TALK])
    assert [message.text for message in opening] == ["Be kind."]
    assert [[message.text for message in exchange] for exchange in exchanges] == [["Hi", "Hello!"], ["Bye", "See you."]]
    two_questions = [Message.user("a"), Message.user("b"), Message.assistant("c"), Message.assistant("d")]
    assert split_exchanges(two_questions) == ([], [two_questions])
    greeting = [Message.assistant("Hi."), Message.user("a"), Message.assistant("b")]
    assert split_exchanges(greeting) == ([], [greeting[:1], greeting[1:]])
    assert split_exchanges([Message.system("x")]) == ([Message.system("x")], [])
