"""Runs tasks on a model and reports scores, intervals and baselines in one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sensorium.api import Model
from sensorium.evaluation import scoring
from sensorium.evaluation.baselines import baseline, most_frequent
from sensorium.evaluation.examples import Example, draw_examples, training_references
from sensorium.evaluation.judging import METRICS, Share
from sensorium.evaluation.making import Pixels, make
from sensorium.evaluation.metrics import Interval, bootstrap_interval, proportion_interval
from sensorium.evaluation.task import Task

# Called as (task's name, examples done, examples in all).
Progress = Callable[[str, int, int], None]
MADE = ("picture", "speech", "image_codec", "speech_codec")  # ways of answering that are no text
_LOWER = ("bits_per_byte", "spoken_error_rate", "mel_distance")
_TRAINING_ANSWERS = 300  # of each data set, among which the most frequent is found


@dataclass(frozen=True, slots=True)
class Score:
    """A model's score on `n` examples, a 95% confidence interval, and what baselines reach on the same."""

    score: float
    n: int
    ci95: Interval
    baselines: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"score": self.score, "n": self.n, "ci95": list(self.ci95), "baselines": self.baselines}


@dataclass(frozen=True, slots=True)
class Result:
    """A model's score on one task.

    `overall` pools all examples; `languages` are the scores in each, `parts` those by the fact that the task names.
    `also` are further scores of the same answers.
    """

    metric: str
    lower_is_better: bool
    overall: Score
    languages: dict[str, Score]
    parts: dict[str, Score] = field(default_factory=dict)
    also: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Of all examples together."""
        return self.overall.score

    @property
    def n(self) -> int:
        """Number of examples."""
        return self.overall.n

    @property
    def ci95(self) -> Interval:
        """The 95% confidence interval of the score."""
        return self.overall.ci95

    @property
    def baselines(self) -> dict[str, float]:
        """What baselines reach on all examples."""
        return self.overall.baselines

    def to_dict(self) -> dict[str, Any]:
        """As JSON; see `Report.to_dict`."""
        return {
            "score": self.score,
            "metric": self.metric,
            "better": "lower" if self.lower_is_better else "higher",
            "n": self.n,
            "ci95": list(self.ci95),
            "baselines": self.baselines,
            "languages": {language: score.to_dict() for language, score in self.languages.items()},
            **({"parts": {name: score.to_dict() for name, score in self.parts.items()}} if self.parts else {}),
            **({"also": self.also} if self.also else {}),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one run."""

    model: str
    tasks: dict[str, Result]

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `{"model", "tasks": {NAME: {"score", "metric", "better", "n", "ci95", "baselines", "languages"}}}`.

        `languages` holds score, n, ci95 and baselines of each language; `parts` and `also` stand where there are some.
        """
        return {"model": self.model, "tasks": {name: result.to_dict() for name, result in self.tasks.items()}}


@dataclass(frozen=True, slots=True)
class _Answered:
    """An example with what the model's answer adds to the score, to further scores, and to baselines of answers."""

    example: Example
    share: Share
    also: dict[str, Share] = field(default_factory=dict)
    baselines: dict[str, Share] = field(default_factory=dict)
    codes: frozenset[int] = frozenset()
    pictures: tuple[Pixels, ...] = ()


def evaluate(
    model: Model,
    tasks: Sequence[Task],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    gallery: list[tuple[Pixels, ...]] | None = None,
) -> Report:
    """Score a model.

    Args:
        model: what `sensorium.load` gives.
        tasks: see `load_task`.
        limit: at most this many examples a task, in place of the task's own limit.
        seed: draws the examples, their candidates, and the bootstrap.
        progress: told of every example that is done.
        gallery: takes the pictures of tasks that make some, the true one with the one made (see `making.sheet`).

    Raises:
        DataError: a task's data cannot be had.
        ConfigError: the generated world is to speak or write by hand without the extra `world`.
        RequestError: the model cannot do what a task asks.
    """
    report = {}
    for task in tasks:
        examples = draw_examples(task, limit=limit, seed=seed)
        usual = _usual_answers(task, examples, seed)
        answered = []
        for index, example in enumerate(examples):
            answered.append(_answer(model, example, task, usual, index))
            if gallery is not None and answered[-1].pictures:
                gallery.append(answered[-1].pictures)
            if progress is not None:
                progress(task.name, index + 1, len(examples))
        report[task.name] = _result(task, answered, seed)
    return Report(model.name, report)


def takes(model: Model, task: Task) -> bool:
    """Whether the model takes in what the task shows and plays, and makes what it asks for."""
    organs = {"image": model.config.vision, "audio": model.config.speech}
    codecs = {"image": model.config.image_codec, "speech": model.config.speech_codec}
    return all(organs[kind] is not None for kind in task.takes) and all(codecs[kind] for kind in task.makes)


def _usual_answers(task: Task, examples: Sequence[Example], seed: int) -> dict[str, str]:
    """For each language the most frequent answer: of training where the data is divided, else of the references."""
    if "most_frequent" not in task.baselines:
        return {}
    asked = most_frequent((example.language, example.reference) for example in examples)
    return asked | most_frequent(training_references(task, most=_TRAINING_ANSWERS, seed=seed))


def _answer(model: Model, example: Example, task: Task, usual: dict[str, str], index: int) -> _Answered:
    if task.parser.kind == "likelihood":
        cost = (
            scoring.reply_cost(model, example.context, example.reference)
            if task.prompt.kind == "reply"
            else scoring.document_cost(model, example.reference)
        )
        return _Answered(example, (cost.bits, cost.n_bytes))
    if task.parser.kind in MADE:
        made = make(model, example, task.parser.kind, task.metric, seed=index)
        return _Answered(example, made.share, made.also, made.baselines, made.codes, made.pictures)
    if task.parser.kind == "choice":
        return _Answered(example, (example.candidates[scoring.choose(model, example)] == example.reference, 1))
    metric, parser = METRICS[task.metric], task.parser
    # The reference is read as the answer is, so that "… is 42." and "42" agree under `number`.
    true = scoring.read_reference(example, parser)
    answer = scoring.write(model, example, parser)
    others: dict[str, Share] = {}
    if "most_frequent" in task.baselines:
        others["most_frequent"] = metric.judge(scoring.read_answer(usual[example.language], parser.kind), true)
    if "text_only" in task.baselines:
        others["text_only"] = metric.judge(scoring.write(model, example.without_media(), parser), true)
    return _Answered(example, metric.judge(answer, true), {n: judge(answer, true) for n, judge in metric.also}, others)


def _result(task: Task, answered: Sequence[_Answered], seed: int) -> Result:
    lower = task.metric in _LOWER or (task.metric in METRICS and METRICS[task.metric].lower_is_better)
    by_language = _grouped(answered, lambda each: each.example.language)
    fact = task.by
    by_fact = _grouped(answered, lambda each: str(each.example.facts.get(fact))) if fact else {}
    names = dict.fromkeys(name for each in answered for name in each.also)
    also = {name: _ratio([each.also[name] for each in answered if name in each.also]) for name in names}
    if any(each.codes for each in answered):
        also["codes_used"] = float(len(frozenset[int]().union(*(each.codes for each in answered))))
    return Result(
        task.metric,
        lower,
        _score(task, answered, seed),
        {language: _score(task, group, seed) for language, group in by_language.items()},
        {value: _score(task, group, seed) for value, group in by_fact.items()},
        also,
    )


def _grouped(answered: Sequence[_Answered], key: Callable[[_Answered], str]) -> dict[str, list[_Answered]]:
    groups: dict[str, list[_Answered]] = {}
    for each in answered:
        groups.setdefault(key(each), []).append(each)
    return dict(sorted(groups.items()))


def _score(task: Task, answered: Sequence[_Answered], seed: int) -> Score:
    examples = [each.example for each in answered]
    floor = {
        name: _ratio([each.baselines[name] for each in answered])
        if name in answered[0].baselines
        else baseline(name, task.metric, examples)
        for name in task.baselines
    }
    shares = [each.share for each in answered]
    return Score(_ratio(shares), len(shares), _interval(task.metric, shares, seed), floor)


def _ratio(shares: Sequence[Share]) -> float:
    numerators, denominators = zip(*shares, strict=True)
    return float(np.sum(numerators) / max(np.sum(denominators), 1))


def _interval(metric: str, shares: Sequence[Share], seed: int) -> Interval:
    if metric in ("accuracy", "picture_right") or (metric in METRICS and METRICS[metric].proportion):
        return proportion_interval(round(sum(right for right, _ in shares)), len(shares))
    numerators, denominators = zip(*shares, strict=True)
    return bootstrap_interval(numerators, denominators, seed=seed)
