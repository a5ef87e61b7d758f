"""From records to examples: what the model is shown, what was really said, and what else might have been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensorium.data.records import Record
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.errors import DataError
from sensorium.evaluation.task import Prompt, Task
from sensorium.messages import Message, Text


@dataclass(frozen=True, slots=True)
class Example:
    """One question to a model.

    `context` is the conversation so far (empty for a document), `reference` the true text, `candidates` the texts to
    choose from (the reference among them), when there is a choice.
    """

    context: tuple[Message, ...]
    reference: str
    candidates: tuple[str, ...] = ()


def draw_examples(task: Task, *, limit: int | None, seed: int) -> list[Example]:
    """The examples of a task, the same for the same seed: at most `limit`, by default the task's own limit.

    Raises:
        DataError: a source cannot be had, or holds too little for the task.
    """
    rng = np.random.default_rng(seed)
    groups = [_group(task, spec, limit or task.limit, seed, rng) for spec in task.data]
    examples = _alternating(groups)[: limit or task.limit]
    if not examples:
        names = ", ".join(spec.name for spec in task.data)
        raise DataError(f"task {task.name}: {names} holds no example of kind {task.prompt.kind!r}")
    return examples


def _group(task: Task, spec: DatasetSpec, limit: int, seed: int, rng: np.random.Generator) -> list[Example]:
    """Examples of one data set, none twice, which also lend each other their replies where there is a choice."""
    # However few are asked about, the candidates come from as many as the task usually asks.
    wanted = max(limit, task.limit) if task.parser.kind == "choice" else limit
    distinct: dict[Example, None] = {}
    for record in record_stream(spec, seed=seed, repeat=False):
        example = _example(record, task.prompt, rng)
        if example is not None:
            distinct[example] = None
        if len(distinct) == wanted:
            break
    examples = list(distinct)
    return _with_candidates(examples, task, rng) if task.parser.kind == "choice" else examples


def _example(record: Record, prompt: Prompt, rng: np.random.Generator) -> Example | None:
    """The record as an example, None when it has no part that the prompt asks for."""
    content = record.content
    if prompt.kind == "document":
        text = content if isinstance(content, str) else "\n".join(message.text for message in content)
        return Example((), text) if text.strip() else None
    if isinstance(content, str):
        return None
    replies = [
        index
        for index, message in enumerate(content)
        if index and message.role == "assistant" and content[index - 1].role == "user" and message.text.strip()
    ]
    if not replies:
        return None
    at = replies[-1] if prompt.turn == "last" else replies[rng.integers(len(replies))]
    question = content[at - 1]
    reworded = Message(
        "user",
        tuple(
            Text(prompt.template.replace("{text}", part.text)) if isinstance(part, Text) else part
            for part in question.parts
        ),
    )
    above = (Message.system(prompt.system),) if prompt.system else ()
    return Example((*above, *content[: at - 1], reworded), content[at].text)


def _alternating(groups: Sequence[Sequence[Example]]) -> list[Example]:
    """One of each group in turn, so that a cut at any length keeps them even."""
    longest = max(map(len, groups), default=0)
    return [group[index] for index in range(longest) for group in groups if index < len(group)]


def _with_candidates(examples: list[Example], task: Task, rng: np.random.Generator) -> list[Example]:
    """Each example with distinct replies of others beside its own, in random order.

    A reply that was given to the same words elsewhere is no wrong answer, and is never among the others.
    """
    n_others = task.parser.candidates - 1
    replies = sorted({example.reference for example in examples})
    answers: dict[str, set[str]] = {}
    for example in examples:
        answers.setdefault(example.context[-1].text, set()).add(example.reference)
    complete = []
    for example in examples:
        right = answers[example.context[-1].text]
        others = [reply for reply in replies if reply not in right]
        if len(others) < n_others:
            raise DataError(
                f"task {task.name}: {len(replies)} different replies are too few to choose among "
                f"{task.parser.candidates} (lower candidates, or give more data)"
            )
        picked = [others[index] for index in rng.choice(len(others), n_others, replace=False)]
        candidates = [example.reference, *picked]
        order = rng.permutation(len(candidates))
        complete.append(replace(example, candidates=tuple(candidates[index] for index in order)))
    return complete
