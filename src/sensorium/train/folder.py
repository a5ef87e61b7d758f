"""The folder of a run: its recipe, tokenizer, stages and final model, and the lock that keeps it to one process.

runs/NAME/
  recipe.yaml  tokenizer.json  chat_template.jinja  metrics.jsonl  samples.jsonl  tensorboard/
  stages/0-text/checkpoints/step-00000200/   stages/0-text/model/
  model/
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import ConfigError
from sensorium.hub.atomic import staged_folder
from sensorium.hub.folder import FOLDER_FILES, TOKENIZER_FILES
from sensorium.train.checkpoint import Checkpoints
from sensorium.train.recipe import Recipe, changes, dump_recipe, load_recipe

_LOCK = ".lock"


@dataclass(frozen=True)
class RunFolder:
    """Names of what a run's folder holds."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe as it is trained, overrides included."""
        return self.path / "recipe.yaml"

    @property
    def model(self) -> Path:
        """The model of the last stage."""
        return self.path / "model"

    def stage(self, recipe: Recipe, index: int) -> Path:
        """The folder of one stage."""
        return self.path / "stages" / f"{index}-{recipe.stages[index].name}"

    def stage_model(self, recipe: Recipe, index: int) -> Path:
        """The model that a stage hands on."""
        return self.stage(recipe, index) / "model"

    def checkpoints(self, recipe: Recipe, index: int) -> Checkpoints:
        """The checkpoints of one stage."""
        return Checkpoints(self.stage(recipe, index) / "checkpoints", keep=recipe.stages[index].keep)

    def begun(self, recipe: Recipe, index: int) -> bool:
        """Whether a stage has a checkpoint."""
        return index < len(recipe.stages) and self.checkpoints(recipe, index).exist()

    def set_aside(self) -> Path | None:
        """Rename the folder, if it holds a run, to the first free of NAME.1, NAME.2, …; return its new place.

        Raises:
            ConfigError: it cannot be renamed; nothing was changed.
        """
        if not self.recipe.exists() and not self._has_checkpoints():
            return None
        path = self.path.absolute()
        if Path.cwd().resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"{path} cannot be moved aside from inside of it (go to another folder first)")
        places = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
        place = next(place for place in places if not place.exists() and not place.is_symlink())
        try:
            path.rename(place)
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be moved aside to {place}: {error.strerror} (choose another folder)"
            ) from None
        return place

    def admit(self, recipe: Recipe) -> None:
        """Check that the folder is empty or holds a run of this recipe; then keep the recipe there.

        Raises:
            ConfigError: the folder holds something else, or a run that this recipe cannot go on with.
        """
        if self._has_checkpoints():
            self._refuse_changes(recipe)
        elif self.recipe.exists():
            self._forget_other(recipe)
        elif strangers := sorted(path.name for path in self.path.iterdir() if path.name != _LOCK):
            raise ConfigError(f"{self.path} holds {strangers[0]!r} and no run (choose a new or empty folder)")
        write_atomically(self.recipe, dump_recipe(recipe))

    def publish(self, source: Path) -> Path:
        """Make a copy of a stage's model the model of the run, in one step."""
        with staged_folder(self.model, FOLDER_FILES) as stage:
            shutil.copytree(source, stage, dirs_exist_ok=True)
        return self.model

    def _has_checkpoints(self) -> bool:
        return any(self.path.glob("stages/*/checkpoints/step-*"))

    def _forget_other(self, recipe: Recipe) -> None:
        """A run that ended before its first step leaves nothing to keep, if it was of another recipe."""
        if self.recipe.read_text(encoding="utf-8") != dump_recipe(recipe):
            for name in TOKENIZER_FILES:
                (self.path / name).unlink(missing_ok=True)

    def _refuse_changes(self, recipe: Recipe) -> None:
        old = load_recipe(self.recipe)
        for name in changes(old, recipe):
            if not self._may_change(name, old):
                raise ConfigError(
                    f"{self.path} holds a run of another recipe: {name} was {_value(old, name)}, now "
                    f"{_value(recipe, name)} (set it back, choose another folder, or start over with --fresh)"
                )

    def _may_change(self, name: str, old: Recipe) -> bool:
        """Stages that have not begun may change freely; the last that has may get another budget.

        Where the run began (`init`, `tokenizer.from`) may be found elsewhere, once nothing is left in its old place:
        what it gave is in the run's folder.
        """
        match = re.match(r"stages\.(\d+)(?:\.(\w+))?", name)
        if match is None:
            former = Path(str(_setting(old, name)))
            was_moved = name in ("init", "tokenizer.from") and former.is_absolute() and not former.exists()
            return was_moved or not self.begun(old, 0)
        index = int(match[1])
        if not self.begun(old, index):
            return True
        return match[2] == "budget" and not self.begun(old, index + 1)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[RunFolder]:
    """Make the folder and hold its lock, which the system lets go of however the process ends.

    Raises:
        ConfigError: another process trains in it, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("a+")
    except OSError as error:
        raise ConfigError(f"{path} cannot hold a run: {error.strerror} (choose another folder)") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another one"
            raise ConfigError(f"{path} is in use by process {holder} (wait for it, or choose another folder)") from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield RunFolder(path)


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _setting(recipe: Recipe, name: str) -> object:
    value: object = recipe.model_dump(mode="json")
    for step in name.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
    return value


def _value(recipe: Recipe, name: str) -> str:
    """A setting as an error shows it."""
    value = _setting(recipe, name)
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 60 else text[:57] + "..."
