"""A training run as validated YAML: the model, its tokenizer, and stages that follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from sensorium.config import (
    Config,
    EmbedderConfig,
    FusionConfig,
    ImageCodecConfig,
    PainterConfig,
    Positive,
    Probability,
    SamplingConfig,
    SpeechCodecConfig,
    SpeechConfig,
    TransformerConfig,
    VisionConfig,
    nearest,
)
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError
from sensorium.train.precision import Compute
from sensorium.train.settings_file import assign, differences, locate, parse_yaml, problem, read_yaml

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
PositiveFloat = Annotated[float, Field(gt=0)]
# Settings that leave the course of training alone, so that a run may go on under new values of them. Data may
# have been moved: the cursor knows its files by name and size, and refuses others.
OBSERVING = frozenset({"eval_every", "sample_every", "save_every", "log_every", "keep", "validation_tokens"})
OBSERVING |= {"max_bad", "save_dtype", "path", "card"}


class Budget(Config):
    """How long a stage lasts: in optimiser steps, in tokens read (padding counted), or in minutes of wall clock."""

    steps: Positive | None = None
    tokens: Positive | None = None
    minutes: PositiveFloat | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [unit for unit in ("steps", "tokens", "minutes") if getattr(self, unit) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of steps, tokens and minutes, not {' and '.join(given) or 'none'}")
        return self

    @property
    def unit(self) -> str:
        """`steps`, `tokens` or `minutes`."""
        return next(unit for unit in ("steps", "tokens", "minutes") if getattr(self, unit) is not None)

    @property
    def amount(self) -> float:
        """How many of the unit."""
        return float(getattr(self, self.unit))


ObjectiveName = Literal[
    "causal", "masked", "chat", "ctc", "contrastive", "grounding", "image_codec", "speech_codec", "painter"
]


class Auxiliary(Config):
    """A second objective of a stage: each batch of the first comes with one of this, whose mean loss weighs `weight`.

    It counts in `rows` of its own, and is of pairs (`ctc`, `contrastive`, `grounding`).
    """

    objective: Literal["ctc", "contrastive", "grounding"]
    data: Annotated[tuple[DatasetSpec, ...], Field(min_length=1)]
    rows: Positive = 16
    weight: PositiveFloat = 0.3


class Stage(Config):
    """One objective on one mixture of data, with its optimiser and its budget.

    A step reads `accumulate` batches of `rows` rows of `time` tokens, over all processes together. A row of `ctc`,
    `contrastive` and `grounding` is one pair of a picture or recording and its text, of which `contrastive` reads at
    most `time` tokens. A row of `image_codec` is a picture, one of `speech_codec` a stretch of `time` codes, one of
    `painter` a prompt of at most `time` tokens and the picture that answers it.
    """

    name: FolderName = ""
    objective: ObjectiveName = "causal"
    auxiliary: Auxiliary | None = None
    data: Annotated[tuple[DatasetSpec, ...], Field(min_length=1)]
    # Datasets to validate on; left out, the validation splits of `data`.
    validation: tuple[DatasetSpec, ...] | None = None
    rows: Positive = 16
    time: Annotated[int, Field(ge=2)] = 256
    accumulate: Positive = 1
    budget: Budget

    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: PositiveFloat = 1e-3
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95  # Muon's
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    clip: PositiveFloat | None = 1.0
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0)] = 0.02  # a share of the horizon below 1, steps from 1 on
    decay: Annotated[float, Field(gt=0, le=1)] = 0.2  # the share of the horizon in which wsd falls
    lr_floor: Probability = 0.0  # the share of lr reached at the end
    freeze: tuple[str, ...] = ()  # patterns of weight names, such as `decoder.embeddings.*`
    lr_scale: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)  # pattern: factor

    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # overrides the model's, in this stage
    mask: Annotated[float, Field(gt=0, le=1)] = 0.15  # the share of tokens that `masked` hides
    loss: Literal["clip", "siglip"] = "clip"  # of `contrastive`
    code_weight: PositiveFloat = 1.0  # of `causal` and `chat`: what codes of pictures and speech weigh beside words
    voices: dict[str, DatasetSpec] = Field(default_factory=dict)  # of `speech_codec`: recordings of each named voice
    adversary: Annotated[float, Field(ge=0, le=10)] = 0.0  # its share in what moves a codec or painter; 0: none
    perception: Annotated[float, Field(ge=0, le=100)] = 0.0  # of codecs: what the model's own view of it weighs
    tries: Positive = 4  # of `painter`: paintings, of which the nearest to the true picture learns
    workers: Literal[0, 1] = 0  # processes that make batches ahead; 0: a thread of this one
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the averaged weights, which are then the result
    compile: bool = False
    checkpoint_activations: bool = False

    log_every: Positive = 10
    eval_every: Annotated[int, Field(ge=0)] = 200  # 0: only at the end
    sample_every: Annotated[int, Field(ge=0)] = 0  # 0: never
    save_every: Positive = 200
    keep: Positive = 2  # checkpoints
    validation_tokens: Positive = 131_072  # read at most this many tokens per validation

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        """A stage without a name is called by its objective."""
        if isinstance(data, dict) and "name" not in data:
            return {"name": data.get("objective", "causal"), **data}
        return data

    @property
    def tokens_per_step(self) -> int:
        """Tokens that a step reads, padding counted."""
        return self.rows * self.time * self.accumulate


class NewDecoder(TransformerConfig):
    """Settings of a fresh model; `vocab_size` 0 stands for the tokenizer's."""

    vocab_size: Annotated[int, Field(ge=0)] = 0


class TokenizerSpec(Config):
    """A tokenizer to train on data (`vocab_size`, `data`), or that of a model folder (`from`)."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: str | None = Field(default=None, alias="from")
    vocab_size: Positive | None = None
    locations: Annotated[int, Field(ge=0, le=1024)] = 0  # tokens for places in a picture, beyond vocab_size
    data: tuple[DatasetSpec, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.from_ is None) == (self.vocab_size is None):
            raise ValueError("give either vocab_size (and data) to train a tokenizer, or from: a model folder")
        if self.from_ is not None and self.data:
            raise ValueError("a tokenizer taken from a model folder is not trained: leave data out")
        return self


class Recipe(Config):
    """A whole run: a new model (`model`, `tokenizer`) or one to go on from (`init`), and its stages.

    `vision`, `speech`, `fusion`, `embedder`, `image_codec`, `speech_codec` and `painter` are further parts of a new
    model; one that `init` lacks is added fresh. Codes follow the words of the vocabulary: their `first_id` need not be
    given.
    """

    name: FolderName = "model"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    init: str | None = None  # a model folder or name
    model: NewDecoder | None = None
    vision: VisionConfig | None = None
    speech: SpeechConfig | None = None
    fusion: FusionConfig | None = None
    embedder: EmbedderConfig | None = None
    image_codec: ImageCodecConfig | None = None
    speech_codec: SpeechCodecConfig | None = None
    painter: PainterConfig | None = None
    tokenizer: TokenizerSpec | None = None
    # Precision of the weights in the model folders; training itself keeps float32.
    save_dtype: Literal["float32", "float16", "bfloat16"] = "float16"
    compute: Compute = "auto"  # products: bfloat16 on a GPU, float32 on a CPU (some CPUs are fast in bfloat16, too)
    sampling: SamplingConfig | None = None  # how the model likes to be sampled; left out, as `init` does
    card: Path | None = None  # Markdown that becomes the model's card
    # Maps that only training needs, which the model at the end is without.
    leave_out: tuple[Literal["vision.grounding", "speech.ctc"], ...] = ()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @field_validator("stages")
    @classmethod
    def _distinct(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two stages are called {twice!r} (give each a name of its own)")
        return stages

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.init is None) == (self.model is None):
            raise ValueError("give either model (settings of a new one) or init (a model to go on from)")
        if (self.init is None) == (self.tokenizer is None):
            raise ValueError("a new model needs a tokenizer, and init brings its own")
        if self.model is not None:
            for stage in self.stages:
                _fits(stage, self.model)
        return self

    def card_text(self) -> str | None:
        """The model card, None when the recipe names none. Raises `ConfigError` when it cannot be read."""
        if self.card is None:
            return None
        try:
            return self.card.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the card {self.card} cannot be read: {error}") from None

    def with_minutes(self, minutes: float) -> Recipe:
        """The same run in so many minutes altogether, shared among the stages as their budgets are now.

        Raises:
            ConfigError: the stages count in different units, so that there is no ratio to keep.
        """
        if minutes <= 0:
            raise ConfigError(f"{minutes} minutes is no budget (give more than 0)")
        sizes = [_size(stage) for stage in self.stages]
        if len({unit for unit, _ in sizes}) > 1:
            raise ConfigError("minutes cannot be shared: some stages count in minutes, others in steps or tokens")
        total = sum(size for _, size in sizes)
        stages = tuple(
            stage.model_copy(update={"budget": Budget(minutes=minutes * size / total)})
            for stage, (_, size) in zip(self.stages, sizes, strict=True)
        )
        return self.model_copy(update={"stages": stages})


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    Args:
        path: a YAML file. With a single stage, its keys may stand at the top instead of under `stages`.
        overrides: `a.b.0.c=value` each, the value in YAML; the last one wins.

    Paths in it start from the recipe's folder or, where nothing is found there, from the working folder.

    Raises:
        ConfigError: one line that names the file, the line or the key, and the nearest valid key.
    """
    path = Path(path)
    data = _expand(read_yaml(path), str(path))
    for override in overrides:
        _override(data, override)
    try:
        locate(data, path.absolute().parent)
    except RecursionError:
        raise ConfigError(f"{path}: a YAML alias stands inside what it stands for") from None
    return Recipe.parse(data, str(path))


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML that `load_recipe` reads back to an equal one; settings left alone are left out."""
    data = recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def changes(old: Recipe, new: Recipe) -> list[str]:
    """Names of the settings that differ, such as `stages.0.lr`, but those that only observe the run."""
    differing = differences(old.model_dump(mode="json"), new.model_dump(mode="json"))
    return [name for name in differing if name.rpartition(".")[2] not in OBSERVING and not name.startswith("sampling")]


def _size(stage: Stage) -> tuple[str, float]:
    if stage.budget.unit == "steps":
        return "tokens", stage.budget.amount * stage.tokens_per_step
    return stage.budget.unit, stage.budget.amount


def _fits(stage: Stage, model: TransformerConfig) -> None:
    """Raise `ValueError` if a stage cannot train such a model."""
    if stage.time > model.max_positions:
        raise ValueError(
            f"stage {stage.name!r} reads {stage.time} tokens at a time, above max_positions {model.max_positions}"
        )
    if stage.objective == "masked" and model.causal:
        raise ValueError(f"stage {stage.name!r} is masked, which needs a bidirectional model (set model.causal: false)")
    if stage.objective in ("causal", "chat") and not model.causal:
        raise ValueError(f"stage {stage.name!r} is {stage.objective}, which needs model.causal: true")


def _expand(data: Any, where: str) -> dict[str, Any]:
    """The long form: keys of a stage that stand at the top move into the only stage."""
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"{where}: a recipe must be a mapping of settings, not {_kind(data)}")
    if "stages" in data:
        return data
    stage_keys = (Stage.model_fields.keys() - Recipe.model_fields.keys()) & data.keys()
    stage = {key: data[key] for key in data if key in stage_keys}
    unknown = sorted(data.keys() - stage_keys - Recipe.model_fields.keys())
    if unknown:
        valid = Recipe.model_fields.keys() | Stage.model_fields.keys()
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}{nearest(unknown[0], valid)}")
    return {**{key: data[key] for key in data if key not in stage_keys}, "stages": [stage]}


def _override(data: dict[str, Any], override: str) -> None:
    """Set one value in place."""
    name, equals, text = override.partition("=")
    path = name.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(f"override {override!r} must read a.b.c=value")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: not valid YAML: {problem(error)}") from None
    stages = data.get("stages")
    if path[0] in Stage.model_fields.keys() - Recipe.model_fields.keys() and isinstance(stages, list):
        if len(stages) != 1:
            raise ConfigError(f"override {override!r}: which stage? (write stages.0.{name.strip()}=…)")
        path = ["stages", "0", *path]
    assign(data, path, value, override)


def _kind(data: Any) -> str:
    return "an empty file" if data is None else type(data).__name__
