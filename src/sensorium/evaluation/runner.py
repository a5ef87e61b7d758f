"""Runs tasks on a model and reports scores, intervals and baselines in one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sensorium.api import Model
from sensorium.evaluation import metrics, scoring
from sensorium.evaluation.baselines import baseline
from sensorium.evaluation.examples import Example, draw_examples
from sensorium.evaluation.metrics import Interval
from sensorium.evaluation.task import Task

# Called as (task's name, examples done, examples in all).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Result:
    """A model's score on one task: `n` examples, a 95% confidence interval, and what baselines reach on the same."""

    score: float
    metric: str
    n: int
    ci95: Interval
    baselines: dict[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one run."""

    model: str
    tasks: dict[str, Result]

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `{"model", "tasks": {NAME: {"score", "metric", "n", "ci95", "baselines"}}}`."""
        tasks = {name: {**asdict(result), "ci95": list(result.ci95)} for name, result in self.tasks.items()}
        return {"model": self.model, "tasks": tasks}


def evaluate(
    model: Model,
    tasks: Sequence[Task],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Score a model.

    Args:
        model: what `sensorium.load` gives.
        tasks: see `load_task`.
        limit: at most this many examples a task, in place of the task's own limit.
        seed: draws the examples, their candidates, and the bootstrap.
        progress: told of every example that is done.

    Raises:
        DataError: a task's data cannot be had.
        RequestError: the model cannot do what a task asks.
    """
    report = {}
    for task in tasks:
        examples = draw_examples(task, limit=limit, seed=seed)
        answered = []
        for index, example in enumerate(examples):
            answered.append(_answer(model, example, task))
            if progress is not None:
                progress(task.name, index + 1, len(examples))
        score, interval = _estimate(task, answered, seed)
        floor = {name: baseline(name, task.metric, examples) for name in task.baselines}
        report[task.name] = Result(score, task.metric, len(examples), interval, floor)
    return Report(model.name, report)


def _answer(model: Model, example: Example, task: Task) -> tuple[float, float]:
    """What an example adds to the numerator and to the denominator of the score."""
    if task.parser.kind == "likelihood":
        cost = (
            scoring.reply_cost(model, example.context, example.reference)
            if task.prompt.kind == "reply"
            else scoring.document_cost(model, example.reference)
        )
        return cost.bits, cost.n_bytes
    if task.parser.kind == "choice":
        return float(example.candidates[scoring.choose(model, example)] == example.reference), 1.0
    answer = scoring.write(model, example, task.parser)
    # The reference is read as the answer is, so that "… is 42." and "42" agree under `number`.
    reference = scoring.read_answer(example.reference, task.parser.kind)
    score = metrics.exact_match if task.metric == "exact_match" else metrics.token_f1
    return score(answer, reference), 1.0


def _estimate(task: Task, answered: Sequence[tuple[float, float]], seed: int) -> tuple[float, Interval]:
    numerators, denominators = zip(*answered, strict=True)
    score = float(np.sum(numerators) / np.sum(denominators))
    if task.metric in ("accuracy", "exact_match"):
        return score, metrics.proportion_interval(round(sum(numerators)), len(answered))
    return score, metrics.bootstrap_interval(numerators, denominators, seed=seed)
