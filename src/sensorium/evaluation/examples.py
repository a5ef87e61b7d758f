"""From records to examples: what the model is shown, what was really said, and what else might have been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import numpy as np

from sensorium.data.records import Content
from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.data.world.source import World
from sensorium.data.world.talk import Talk
from sensorium.errors import DataError
from sensorium.evaluation.task import Prompt, Task
from sensorium.messages import Audio, Image, Message, Text

_FRUITLESS = 100  # talks in a row without an answer in words, after which a world is not asked further


@dataclass(frozen=True, slots=True)
class Example:
    """One question to a model.

    `context` is the conversation so far (empty for a document), `reference` the true text, `candidates` the texts to
    choose from (the reference among them), when there is a choice. `language` is "zh" where most letters are Chinese,
    otherwise "en"; `facts` are what the generated world knows of its own conversation; `made` are the pictures and
    recordings that were really answered with.
    """

    context: tuple[Message, ...]
    reference: str
    candidates: tuple[str, ...] = ()
    language: str = "en"
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False)
    made: tuple[Image | Audio, ...] = ()

    def without_media(self) -> Example:
        """The same with the words alone: no picture, no recording."""
        return replace(self, context=tuple(_words_alone(message) for message in self.context))


def draw_examples(task: Task, *, limit: int | None, seed: int) -> list[Example]:
    """The examples of a task, the same for the same seed: at most `limit`, by default the task's own limit.

    Raises:
        DataError: a source cannot be had, or holds too little for the task.
        ConfigError: the generated world is to speak or write by hand without the extra `world`.
    """
    rng = np.random.default_rng(seed)
    groups = [_group(task, spec, limit or task.limit, seed, rng) for spec in task.data]
    examples = list(islice(_alternating(groups), limit or task.limit))
    if not examples:
        names = ", ".join(spec.name for spec in task.data)
        raise DataError(f"task {task.name}: {names} holds no example of kind {task.prompt.kind!r}")
    return examples


def training_references(task: Task, *, most: int, seed: int) -> Iterator[tuple[str, str]]:
    """(language, reference) of at most so many examples of each data set, from what its split leaves for training.

    A data set that is not divided gives none. Nothing is drawn or spoken for it: the words are enough.
    """
    rng = np.random.default_rng(seed)
    for spec in task.data:
        train = spec.model_copy(update={"split": "train"})
        if spec.world is not None:
            talks = (talk for _, _, talk in islice(_talks(train, seed), most))
            yield from ((talk.language, talk.answer) for talk in talks if talk.answer.strip())
        elif spec.split == "validation":
            examples = islice(_examples(train, task.prompt, seed, rng), most)
            yield from ((example.language, example.reference) for example in examples)


def _group(task: Task, spec: DatasetSpec, limit: int, seed: int, rng: np.random.Generator) -> Iterator[Example]:
    """Examples of one data set, none twice, which also lend each other their replies where there is a choice."""
    examples = _distinct(_examples(spec, task.prompt, seed, rng))
    if task.parser.kind == "choice":
        # However few are asked about, the candidates come from as many as the task usually asks.
        examples = iter(_with_candidates(list(islice(examples, max(limit, task.limit))), task, rng))
    return examples


def _examples(spec: DatasetSpec, prompt: Prompt, seed: int, rng: np.random.Generator) -> Iterator[Example]:
    """The examples of a data set in its order: endless for a world, once through for what is read."""
    if spec.world is not None:
        yield from _world_examples(spec, prompt, seed, rng)
        return
    for record in record_stream(spec, seed=seed, repeat=False):
        example = _example(record.content, prompt, rng)
        if example is not None:
            yield example


def _world_examples(spec: DatasetSpec, prompt: Prompt, seed: int, rng: np.random.Generator) -> Iterator[Example]:
    """Each with its language and facts; ends where the world's talks have no answer in words."""
    fruitless = 0
    for index, world, talk in _talks(spec, seed):
        example = _example(world.realise(talk, index), prompt, rng)
        fruitless = 0 if example else fruitless + 1
        if example is not None:
            yield replace(example, language=talk.language, facts=talk.facts)
        elif fruitless == _FRUITLESS:
            return


def _talks(spec: DatasetSpec, seed: int) -> Iterator[tuple[int, World, Talk]]:
    """The talks of a world with their numbers; another seed is another world of the same sort."""
    assert spec.world is not None
    world = World(spec.world.model_copy(update={"seed": (spec.world.seed + seed) % 2**31}), spec.split)
    for index in islice(count(), spec.limit):
        yield index, world, world.talk(index)


def _example(content: Content, prompt: Prompt, rng: np.random.Generator) -> Example | None:
    """The content of a record as an example, None when it has no part that the prompt asks for."""
    if prompt.kind == "document":
        text = content if isinstance(content, str) else "\n".join(message.text for message in content)
        return Example((), text, language=_language(text)) if text.strip() else None
    if isinstance(content, str):
        return None
    replies = [
        index
        for index, message in enumerate(content)
        if index
        and message.role == "assistant"
        and content[index - 1].role == "user"
        and (message.text.strip() or any(not isinstance(part, Text) for part in message.parts))
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
    language = _language(question.text + content[at].text)
    made = tuple(part for part in content[at].parts if not isinstance(part, Text))
    return Example((*above, *content[: at - 1], reworded), content[at].text, language=language, made=made)


def _language(text: str) -> str:
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
    return "zh" if 2 * chinese > sum(map(str.isalpha, text)) else "en"


def _words_alone(message: Message) -> Message:
    words = tuple(part for part in message.parts if isinstance(part, Text))
    return Message(message.role, words or (Text(""),))


def _distinct(examples: Iterator[Example]) -> Iterator[Example]:
    seen: set[int] = set()  # by hash: the pictures and recordings themselves are not kept
    for example in examples:
        key = hash(example)
        if key not in seen:
            seen.add(key)
            yield example


def _alternating(groups: Sequence[Iterator[Example]]) -> Iterator[Example]:
    """One of each group in turn, so that a cut at any length keeps them even."""
    left = list(groups)
    while left:
        for group in list(left):
            example = next(group, None)
            if example is None:
                left.remove(group)
            else:
                yield example


def _with_candidates(examples: list[Example], task: Task, rng: np.random.Generator) -> list[Example]:
    """Each example with distinct replies of others beside its own, in random order.

    A reply that was given to the same question elsewhere is no wrong answer, and is never among the others.
    """
    n_others = task.parser.candidates - 1
    replies = sorted({example.reference for example in examples})
    answers: dict[Message, set[str]] = {}
    for example in examples:
        answers.setdefault(example.context[-1], set()).add(example.reference)
    complete = []
    for example in examples:
        right = answers[example.context[-1]]
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
