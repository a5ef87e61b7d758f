"""The base of all settings: frozen, validated, and told apart by errors of one line."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sensorium.errors import ConfigError

Positive = typing.Annotated[int, Field(gt=0)]
# Sizes of a model: far beyond any that is built, so that a wrong digit in a file costs an error and not all memory.
Size = typing.Annotated[int, Field(gt=0, le=2**24)]
Layers = typing.Annotated[int, Field(gt=0, le=4096)]
Probability = typing.Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error that names the nearest valid one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def parse(cls, data: object, where: str) -> Self:
        """Validate plain data (parsed YAML or JSON).

        Args:
            data: a mapping of settings.
            where: what to call its origin in an error, such as a file name.

        Raises:
            ConfigError: one line that names the key, its value, and what is allowed.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_one_line(cls, error)}") from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate a JSON file. Raises `ConfigError` when it is missing, broken or invalid."""
        return cls.parse(read_json(path), str(path))


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises `ConfigError` that names the file, and the line where it breaks."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise ConfigError(f"{path} is not valid JSON: {error}") from None


def nearest(word: str, choices: typing.Iterable[str]) -> str:
    """A hint such as ` (did you mean 'dropout'?)` or, when nothing is close, ` (one of: …)`."""
    names = sorted(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (one of: {', '.join(names)})"


def _one_line(model: type[BaseModel], error: ValidationError) -> str:
    """The first problem of a pydantic error, in one line, with the nearest valid key for an unknown one."""
    problems = error.errors(include_url=False)
    # A list one of whose items is wrong is also called too short.
    problems = [p for p in problems if p["type"] != "too_short" or len(problems) == 1] or problems
    # An unknown key usually explains the other complaints (a misspelt required key is also "missing").
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = [part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-"))]
    name = ".".join(str(part) for part in location) or "the whole"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        valid = _fields_at(model, location[:-1])
        return f"unknown key {name!r}{nearest(str(location[-1]), valid) if valid else ''}"
    if first["type"] == "missing":
        return f"{name!r} is required but missing{more}"
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("tuple_type", "list_type"):
        reason = "give a list, such as [a, b]"
    if isinstance(first["input"], Mapping | list) or not location:
        return f"{name}: {reason}{more}" if location else f"{reason}{more}"
    return f"{name} = {first['input']!r}: {reason}{more}"


def _fields_at(model: type[BaseModel], path: list[int | str]) -> set[str]:
    """Names of the settings valid at a place inside a nested config."""
    models = [model]
    for step in path:
        if isinstance(step, int):
            continue
        fields = [found.model_fields[step].annotation for found in models if step in found.model_fields]
        # A step that is no field is the tag of a union: the models at hand already cover it.
        models = [inner for annotation in fields for inner in _models_in(annotation)] or models
    return {name for found in models for name in found.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for inner in typing.get_args(annotation):
            yield from _models_in(inner)
