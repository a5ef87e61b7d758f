"""Settings as YAML files hold them: read with errors that name the line, changed by key, and compared."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from sensorium.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, of which the first would silently lose, and keys that are no words."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, refusing keys that are repeated, or lists or mappings."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """What a text in YAML holds. Raises `yaml.YAMLError`."""
    try:
        return yaml.load(text, _Loader)
    except (ValueError, RecursionError) as error:  # PyYAML lets these through: a 13th month, endless nesting
        raise yaml.YAMLError(str(error)) from None


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises `ConfigError` naming the file and the line."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_position(error)}: not valid YAML: {problem(error)}") from None


def _position(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def problem(error: yaml.YAMLError) -> str:
    """What is wrong, in a line."""
    words = getattr(error, "problem", None) or str(error)
    return " ".join(words.split())


def assign(data: Any, path: list[str], value: Any, override: str) -> None:
    """Set the value at a path of keys and indices, in place. Raises `ConfigError`, which quotes the `override`."""
    *parents, last = path
    place = data
    for depth, step in enumerate(parents):
        key = _key(place, step, override)
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict | list):
            raise ConfigError(f"override {override!r}: {'.'.join(path[: depth + 1])} is {place!r}, with no keys in it")
    place[_key(place, last, override)] = value


def _key(place: dict[str, Any] | list[Any], step: str, override: str) -> Any:
    if isinstance(place, dict):
        return step
    if not step.isdecimal() or int(step) >= len(place):
        raise ConfigError(f"override {override!r}: {step!r} is not an index into a list of {len(place)}")
    return int(step)


def locate(data: Any, folder: Path) -> None:
    """Make relative paths absolute, in place; what is found nowhere stays as it is (it may be a model's name)."""
    places = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(places):
        if key in ("path", "init", "from", "card") and isinstance(value, str):
            candidates = (folder / value, Path(value).absolute())
            data[key] = str(next((place for place in candidates if _is_meant(place, data=key == "path")), value))
        else:
            locate(value, folder)


def _is_meant(place: Path, *, data: bool) -> bool:
    """Whether data, or a model, is there: a folder that merely has a model's name is not that model."""
    try:
        return place.exists() and (data or place.is_file() or (place / "config.json").exists())
    except OSError:  # a name too long, a folder closed to us
        return False


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Paths, such as `stages.0.lr`, of what is not the same in both."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(key, old.get(key), new.get(key)) for key in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list):
        pairs = [(str(index), *pair) for index, pair in enumerate(zip_longest(old, new))]
    else:
        return [] if old == new else [prefix]
    return [name for key, before, after in pairs for name in differences(before, after, f"{prefix}.{key}".lstrip("."))]
