"""A task as validated YAML: where its examples come from, how they are put to a model, read back and scored."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import Field, model_validator

from sensorium.config import Config, Positive, nearest
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError

Metric = Literal[
    "bits_per_byte",
    "accuracy",
    "exact_match",
    "token_f1",
    "attribute_f1",
    "weather",
    "error_rate",
    "word_error_rate",
    "character_error_rate",
    "box_iou",
    "point_in_box",
    "picture",
    "picture_right",
    "spoken_error_rate",
    "psnr",
    "mel_distance",
]
Suite = Literal["text", "world", "more", "real", "making"]
SUITES: tuple[str, ...] = get_args(Suite)
# The metrics that judge what the model writes; which of them need what the generated world knows.
_MADE: dict[str, tuple[str, ...]] = {
    "picture": ("picture",),
    "picture_right": ("picture",),
    "spoken_error_rate": ("speech",),
    "psnr": ("image_codec",),
    "mel_distance": ("speech_codec",),
}
_WRITTEN = tuple(name for name in get_args(Metric) if name not in ("bits_per_byte", "accuracy", *_MADE))
_OF_THE_WORLD = ("box_iou", "point_in_box")
# Which ways of reading a model's answer a metric can score, and which baselines mean something beside it.
_PARSERS: dict[str, tuple[str, ...]] = {
    "bits_per_byte": ("likelihood",),
    "accuracy": ("choice",),
    **dict.fromkeys(_WRITTEN, ("text", "first_line", "first_word", "number")),
    **_MADE,
}
_BASELINES: dict[str, tuple[str, ...]] = {
    "bits_per_byte": ("uniform", "byte_entropy", "xz"),
    "accuracy": ("random", "longest", "shortest", "word_overlap"),
    **dict.fromkeys(_WRITTEN, ("most_frequent", "text_only")),
    **dict.fromkeys(("picture", "picture_right"), ("original", "codec", "unchanged")),
    "spoken_error_rate": ("original", "codec"),
    **dict.fromkeys(("psnr", "mel_distance"), ()),
}


class Prompt(Config):
    """How a record becomes an example.

    `document` scores the record's whole text. `reply` takes a conversation up to one of the assistant's turns, which
    is the reference: the `last` one, or one drawn by the seed (`any`). `template` rewords the question around
    `{text}`; `system` puts instructions above the conversation.
    """

    kind: Literal["document", "reply"]
    turn: Literal["last", "any"] = "any"
    template: str = "{text}"
    system: str | None = None

    @model_validator(mode="after")
    def _has_place(self) -> Self:
        if "{text}" not in self.template:
            raise ValueError(f"template {self.template!r} has no {{text}} to put the question in")
        return self


class Parser(Config):
    """How the model's answer is read.

    `likelihood`: the bits it takes to write the reference. `choice`: the likeliest per byte of the reference and other
    examples' references, `candidates` in all. The others generate greedily up to `max_tokens` and keep the whole
    `text`, its `first_line`, its `first_word`, or the last `number` in it. `picture` and `speech` ask for such an
    answer, which independent judges read; `image_codec` and `speech_codec` put what is shown or played through the
    model's codec.
    """

    kind: Literal[
        "likelihood",
        "choice",
        "text",
        "first_line",
        "first_word",
        "number",
        "picture",
        "speech",
        "image_codec",
        "speech_codec",
    ]
    candidates: Annotated[int, Field(ge=2, le=100)] = 8
    max_tokens: Positive = 64


class Task(Config):
    """One measure of a model; `limit` examples are drawn by the seed unless the caller asks for another number.

    Several data sets take turns, so that each has its share of any number. `takes` says what else than words a model
    must take in, `makes` what it must answer with; `suite` is the group of tasks it is run with (see `load_tasks`).
    `by` names a fact of the generated world, such as the sort of a question, by whose values the score is also
    reported.
    """

    name: str
    description: str
    suite: Suite | None = None
    takes: tuple[Literal["image", "audio"], ...] = ()
    makes: tuple[Literal["image", "speech"], ...] = ()
    data: Annotated[tuple[DatasetSpec, ...], Field(min_length=1)]
    prompt: Prompt
    parser: Parser
    metric: Metric
    baselines: tuple[str, ...] = ()
    by: str | None = None
    limit: Positive = 100

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.parser.kind not in _PARSERS[self.metric]:
            allowed = ", ".join(_PARSERS[self.metric])
            raise ValueError(f"metric {self.metric} needs a parser of {allowed}, not {self.parser.kind}")
        if self.prompt.kind == "document" and self.parser.kind != "likelihood":
            raise ValueError(f"a document has no answer to read by {self.parser.kind} (use prompt reply)")
        for baseline in self.baselines:
            if baseline not in _BASELINES[self.metric]:
                raise ValueError(
                    f"{baseline!r} is no baseline of {self.metric}{nearest(baseline, _BASELINES[self.metric])}"
                )
        if self.metric in _OF_THE_WORLD and any(spec.world is None for spec in self.data):
            raise ValueError(f"metric {self.metric} scores by the facts of the generated world (give data a world)")
        if self.prompt.kind == "reply" and "xz" in self.baselines:
            raise ValueError("baseline xz compresses documents (use prompt document, or leave it out)")
        return self


def task_names() -> list[str]:
    """Names of the tasks that come with the package, sorted."""
    folder = resources.files("sensorium.evaluation").joinpath("tasks")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_tasks(name_or_path: str | Path) -> list[Task]:
    """All tasks of a suite ("text", "world", "more", "real", "making") by its name, or the one task of `load_task`."""
    if str(name_or_path) not in SUITES:
        return [load_task(name_or_path)]
    return [task for task in map(load_task, task_names()) if task.suite == name_or_path]


def load_task(name_or_path: str | Path) -> Task:
    """A task by the name of its file in the package, or by the path of a YAML file of your own.

    Raises:
        ConfigError: there is no such task, or its file is broken; the nearest name or key is given.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return _parse(_read(path), path.stem, str(path))
    name = str(name_or_path)
    if name not in task_names():
        raise ConfigError(f"unknown task {name!r}{nearest(name, [*task_names(), *SUITES])}")
    text = resources.files("sensorium.evaluation").joinpath("tasks", f"{name}.yaml").read_text(encoding="utf-8")
    return _parse(text, name, f"task {name}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _parse(text: str, name: str, where: str) -> Task:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: a task must be a mapping of settings")
    return Task.parse({"name": name, **data}, where)
