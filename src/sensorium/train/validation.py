"""The loss on held-out data, in nats per learned token and in bits per byte, which tokenizers do not change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sensorium.data.spec import DatasetSpec
from sensorium.data.streams import record_stream
from sensorium.errors import DataError
from sensorium.nn.omni import Omni
from sensorium.train.callbacks import ValidationMetrics
from sensorium.train.distributed import World
from sensorium.train.objectives import Objective, moved, share_of
from sensorium.train.precision import autocast
from sensorium.train.recipe import Stage
from sensorium.train.seeds import derive


def validation_data(stage: Stage) -> tuple[DatasetSpec, ...]:
    """What a stage validates on: as given, or what is held out of the data sets that train on their `train` split.

    A small data set may hold nothing out; it is then left out of the second.
    """
    if stage.validation is not None:
        return stage.validation
    held_out = (
        spec.model_copy(update={"split": "validation", "augment": None}) for spec in stage.data if spec.split == "train"
    )
    return tuple(spec for spec in held_out if _has_records(spec))


def _has_records(spec: DatasetSpec) -> bool:
    try:
        next(record_stream(spec, shuffle=False, repeat=False))
    except DataError:
        return False
    return True


class Validation:
    """One stage's validation: the same batches each time, read once and kept."""

    def __init__(
        self, objective: Objective[Any], stage: Stage, specs: Sequence[DatasetSpec], *, seed: int, world: World
    ) -> None:
        self._objective, self._stage, self._specs = objective, stage, specs
        self._seed, self._world = seed, world
        self._kept: list[Any] | None = None

    def __call__(self, model: Omni, step: int) -> ValidationMetrics:
        """Validate the model as it is, in evaluation mode."""
        total = torch.zeros(1, dtype=torch.float64, device=self._world.device)
        was_training = model.training
        model.eval()
        batches = self._batches()
        with torch.no_grad():
            for batch in batches:
                share = share_of(batch, self._world.rank, self._world.size)
                if self._objective.gathers or self._objective.count(share):
                    with autocast(self._world.device, self._world.dtype):
                        total += self._objective.loss(model, moved(share, self._world.device)).double()
        model.train(was_training)
        nats = float(self._world.sum(total).item())
        tokens = sum(self._objective.count(batch) for batch in batches)
        n_bytes = sum(self._objective.n_bytes(batch) for batch in batches)
        return ValidationMetrics(
            stage=self._stage.name,
            step=step,
            loss=nats / max(1, tokens),
            bits_per_byte=nats / math.log(2) / n_bytes if n_bytes else None,
            tokens=tokens,
            n_bytes=n_bytes,
        )

    def _batches(self) -> list[Any]:
        if self._kept is None:
            rows, limit = (
                self._stage.rows,
                max(1, self._stage.validation_tokens // (self._stage.rows * self._stage.time)),
            )
            stream = self._objective.stream(self._specs, rows=rows, seed=self._seed, repeat=False)
            prepare = self._objective.prepare
            self._kept = [
                prepare(batch, derive(self._seed, index)) for index, batch in zip(range(limit), stream, strict=False)
            ]
            stream.close()
        return self._kept
