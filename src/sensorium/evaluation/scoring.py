"""What a model makes of an example: how many bits a text costs it, which candidate it prefers, what it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sensorium.api import Model
from sensorium.errors import RequestError
from sensorium.evaluation.examples import Example
from sensorium.evaluation.task import Parser
from sensorium.messages import Message
from sensorium.processing.media import Feature


@dataclass(frozen=True, slots=True)
class Cost:
    """The bits a model needs for a text, and the text's length in bytes of UTF-8."""

    bits: float
    n_bytes: int

    @property
    def bits_per_byte(self) -> float:
        """The quotient; infinite for an empty text."""
        return self.bits / self.n_bytes if self.n_bytes else float("inf")


def document_cost(model: Model, text: str) -> Cost:
    """Bits of a whole document and its end.

    A document longer than the context is read in windows that overlap by half: every token is paid for once, with at
    least half a context before it (but for the first window). A first token that nothing stands before (a tokenizer
    without a begin token) is left out, and so are its bytes.

    Raises:
        RequestError: the model does not predict what comes next (BERT).
    """
    sequence = model.processor.encode_text(text)
    ids, learned = sequence.token_ids.tolist(), sequence.learned
    return _cost(model, ids, [index for index in range(1, len(ids)) if learned[index]])


def reply_cost(model: Model, context: Sequence[Message], reply: str) -> Cost:
    """Bits of a reply and its end token after a conversation, whose oldest turns go where the context is too short.

    A turn and a reply that alone exceed the context are read in windows, as documents are. A model without a chat
    template reads the conversation as lines of plain text.

    Raises:
        RequestError: the model does not predict what comes next, or a turn with a picture or recording alone exceeds
            its context.
    """
    start, whole, features = _reply_ids(model, context, reply)
    longest = model.config.decoder.max_positions
    turns = list(context)
    while len(whole) > longest and len(turns) > 1:
        turns.pop(1 if turns[0].role == "system" and len(turns) > 2 else 0)
        start, whole, features = _reply_ids(model, turns, reply)
    paid = _cost(model, whole, range(start, len(whole)), features)
    return Cost(paid.bits, len(reply.encode("utf-8")))


def choose(model: Model, example: Example) -> int:
    """Index of the candidate that costs the model the fewest bits per byte."""
    costs = [reply_cost(model, example.context, candidate).bits_per_byte for candidate in example.candidates]
    return int(np.argmin(costs))


def write(model: Model, example: Example, parser: Parser) -> str:
    """The model's own answer, written greedily and read as the parser says."""
    answer = model.chat(list(example.context), temperature=0.0, n=1, max_tokens=parser.max_tokens, reply="text")
    assert isinstance(answer, Message)
    return read_answer(answer.text, parser.kind)


def read_reference(example: Example, parser: Parser) -> Example:
    """The example with its reference read as an answer is."""
    return replace(example, reference=read_answer(example.reference, parser.kind))


def read_answer(text: str, kind: str) -> str:
    """The part of an answer that counts: all of it, its first line or word, or the last number in it ('' if none)."""
    text = text.strip()
    if kind == "first_line":
        return text.partition("\n")[0].strip()
    if kind == "first_word":
        return next(iter(re.findall(r"\w+", text)), "")
    if kind == "number":
        found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
        return found[-1].replace(",", "") if found else ""
    return text


def _reply_ids(model: Model, context: Sequence[Message], reply: str) -> tuple[int, list[int], tuple[Feature, ...]]:
    """Where a reply to a conversation begins, the token ids of both, and the pictures and recordings among them."""
    processor = model.processor
    if processor.template is None:
        lines = "".join(f"{message.text}\n" for message in context)
        prompt: list[int] = processor.encode_prompt(lines).token_ids.tolist()
        end = model.tokenizer.eos_id
        return len(prompt), [*prompt, *model.tokenizer.encode(reply), *([] if end is None else [end])], ()
    start = len(processor.encode_messages(context, add_generation_prompt=True).token_ids)
    sequence = processor.encode_messages([*context, Message.assistant(reply)])
    # What a template writes after the reply's end token is not the model's to say.
    last = int(np.flatnonzero(sequence.learned)[-1]) + 1 if sequence.learned.any() else len(sequence.token_ids)
    return start, sequence.token_ids[:last].tolist(), sequence.features


def _cost(model: Model, ids: Sequence[int], scored: Sequence[int], features: Sequence[Feature] = ()) -> Cost:
    """Bits of the tokens at `scored` (ascending), each given what stands before it, and the bytes they stand for."""
    if not model.config.decoder.causal:
        raise RequestError(f"{model.name} reads both ways: it gives no probability to what comes next")
    context = model.config.decoder.max_positions
    if features and len(ids) > context:
        raise RequestError(
            f"a reply and what is shown or played before it are {len(ids)} tokens, more than {model.name}'s "
            f"context of {context} (leave the longest out)"
        )
    nats = 0.0
    begin, left = 0, list(scored)
    while left:
        end = min(begin + context, len(ids))
        now = [index for index in left if index < end]
        if now:
            nats -= float(_log_probabilities(model.logits(ids[begin:end], features), ids, now, begin).sum())
        left = left[len(now) :]
        begin += max(context // 2, 1)
    return Cost(nats / np.log(2), model.tokenizer.n_bytes([ids[index] for index in scored]))


def _log_probabilities(
    logits: NDArray[np.float32], ids: Sequence[int], scored: Sequence[int], begin: int
) -> NDArray[np.float64]:
    """Log-probability of each token at `scored`; (time, vocab_size) logits belong to positions from `begin` on."""
    rows = logits[np.asarray(scored) - 1 - begin].astype(np.float64)  # (scored, vocab_size)
    rows -= rows.max(axis=-1, keepdims=True)
    chosen = rows[np.arange(len(scored)), np.asarray([ids[index] for index in scored])]
    result: NDArray[np.float64] = chosen - np.log(np.exp(rows).sum(axis=-1))
    return result
