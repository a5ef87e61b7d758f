"""Chat fine-tuning on dialogues of natural length, in the same run: we pack them, `transformers` pads them.

    SENSORIUM_DATA=... python benchmarks/packing.py [--threads 2] [--repeats 5] [--dialogues 128]

Dialogues of `sgd_dialogues` and `chatterbot_corpus`, drawn from both together with a fixed seed. The peer takes 16 at
a time, padded on the right to the longest (with no attention mask, which causal attention does not need there: its
fastest way). We pack the same dialogues into rows of 1,024, four at a time. Both learn the assistant's tokens only,
with the same Llama of 5.7M, weights and AdamW in float32. One JSON line: learned tokens per second, their ratio, and
how full either's batches are. The losses must agree before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers
from torch import Tensor
from training import VOCABULARY, agree, llama, median_seconds, ours_from

from sensorium.data.packing import IGNORED, Piece, pack, pieces
from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.messages import Message
from sensorium.processing.processor import Processor
from sensorium.processing.template import words_of
from sensorium.processing.tokenizer import Tokenizer

SOURCES = ("sgd_dialogues", "chatterbot_corpus")
PADDED_ROWS, PACKED_ROWS, PACKED_TIME = 16, 4, 1024


@dataclass(frozen=True)
class Rows:
    """A batch as either contender takes it, each tensor (rows, time)."""

    input_ids: Tensor
    targets: Tensor
    positions: Tensor
    document_ids: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[Piece]], time: int) -> Rows:
        """Pieces laid one after another in each row; what is left over is padding."""
        shape = (len(rows), time)
        ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        targets, documents = torch.full(shape, IGNORED), torch.full(shape, -1)
        for row, row_pieces in enumerate(rows):
            begin = 0
            for number, piece in enumerate(row_pieces):
                place = slice(begin, begin + len(piece))
                ids[row, place], targets[row, place] = torch.from_numpy(piece.inputs), torch.from_numpy(piece.targets)
                positions[row, place], documents[row, place] = torch.arange(len(piece)), number
                begin += len(piece)
        return cls(ids, targets, positions, documents)

    @property
    def learned(self) -> int:
        """Number of targets."""
        return int((self.targets != IGNORED).sum())


def dialogues(count: int) -> list[Piece]:
    """`count` dialogues of both sources by a tokenizer trained on 4,000 of them; a piece is a whole dialogue."""
    records: list[tuple[Message, ...]] = []
    for name in SOURCES:
        stream = RecordStream(DatasetSpec(source=name), shuffle=False, repeat=False)
        records += [record.content for record in stream if not isinstance(record.content, str)]
    random.Random(0).shuffle(records)
    texts = (words_of(message) for messages in records[:4000] for message in messages)
    processor = Processor(Tokenizer.train(texts, VOCABULARY))
    found: list[Piece] = []
    for messages in records:
        sequence = processor.encode_messages(messages)
        if len(sequence.token_ids) <= PACKED_TIME and len(found) < count:
            found += pieces(sequence.token_ids, sequence.learned, PACKED_TIME)
    return found


def padded(found: Sequence[Piece]) -> list[Rows]:
    """The peer's batches: 16 dialogues, one a row, as wide as the longest."""
    groups = [found[begin : begin + PADDED_ROWS] for begin in range(0, len(found), PADDED_ROWS)]
    return [Rows.of([[piece] for piece in group], max(map(len, group))) for group in groups]


def packed(found: Sequence[Piece]) -> list[Rows]:
    """Our batches: as many dialogues to a row as fit."""
    rows = [[found[index] for index in row] for row in pack([len(piece) for piece in found], PACKED_TIME)]
    return [Rows.of(rows[begin : begin + PACKED_ROWS], PACKED_TIME) for begin in range(0, len(rows), PACKED_ROWS)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dialogues", type=int, default=128)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    found = dialogues(options.dialogues)
    batches = {"sensorium": packed(found), "transformers": padded(found)}
    learned = sum(batch.learned for batch in batches["sensorium"])
    assert learned == sum(batch.learned for batch in batches["transformers"])
    peer = llama(dim=256, layers=6, heads=8, hidden=672, max_positions=PACKED_TIME).train()
    ours = ours_from(peer)

    def our_loss(batch: Rows) -> Tensor:
        return ours.loss(batch.input_ids, batch.targets, positions=batch.positions, document_ids=batch.document_ids)

    def peer_loss(batch: Rows) -> Tensor:
        loss: Tensor = peer(input_ids=batch.input_ids, labels=batch.targets, shift_labels=batch.targets).loss
        return loss * batch.learned

    losses = {"sensorium": our_loss, "transformers": peer_loss}
    with torch.no_grad():
        means = {name: sum(loss(batch).item() for batch in batches[name]) / learned for name, loss in losses.items()}
    difference = agree(means["sensorium"], means["transformers"])

    optimizers = {
        name: torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        for name, model in (("sensorium", ours), ("transformers", peer))
    }

    def epoch(name: str) -> None:
        for batch in batches[name]:
            (losses[name](batch) / batch.learned).backward()
            optimizers[name].step()
            optimizers[name].zero_grad(set_to_none=True)

    steps = {name: (lambda name=name: epoch(name)) for name in batches}
    seconds = median_seconds(steps, options.repeats, warm_up=1)
    tokens = sum(map(len, found))
    report = {
        "benchmark": "packing",
        "threads": options.threads,
        "dialogues": len(found),
        "tokens": tokens,
        "learned_tokens": learned,
        "loss_difference": difference,
        "learned_tokens_per_s": {name: round(learned / value) for name, value in seconds.items()},
        "ratio": round(seconds["transformers"] / seconds["sensorium"], 3),
        "filled": {
            name: round(tokens / sum(batch.targets.numel() for batch in made), 3) for name, made in batches.items()
        },
        "steps": {name: len(made) for name, made in batches.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
