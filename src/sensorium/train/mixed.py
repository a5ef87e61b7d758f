"""Two objectives in one step: that of a stage, and an auxiliary one that keeps an encoder honest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from sensorium.data.pairs import PairBatch
from sensorium.data.spec import DatasetSpec
from sensorium.nn.omni import Omni
from sensorium.train.recipe import Auxiliary
from sensorium.train.seeds import derive


@dataclass(frozen=True)
class MixedBatch:
    """A batch of the stage's own objective and one of pairs, whose summed loss is multiplied by `scale`.

    The scale makes the mean of the second weigh as asked against the mean of the first, whichever rows of the two a
    process works on.
    """

    main: Any
    extra: PairBatch | None
    scale: float = 0.0

    def to(self, device: torch.device | str) -> MixedBatch:
        """The same on a device."""
        return MixedBatch(self.main.to(device), self.extra and self.extra.to(device), self.scale)

    def rows_of(self, rank: int, world: int) -> MixedBatch:
        """The rows `rank::world` of both."""
        extra = self.extra and self.extra.rows_of(rank, world)
        return MixedBatch(self.main.rows_of(rank, world), extra, self.scale)


class MixedStream(Iterator[MixedBatch]):
    """Two streams side by side; one that only validates has no second."""

    def __init__(self, main: Any, extra: Any) -> None:
        self._main, self._extra = main, extra

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MixedBatch:
        return MixedBatch(next(self._main), next(self._extra) if self._extra is not None else None)

    @property
    def waited(self) -> float:
        """Seconds that the caller spent waiting for batches."""
        return float(self._main.waited + (self._extra.waited if self._extra is not None else 0.0))

    def state_dict(self) -> dict[str, Any]:
        """Both places."""
        state = {"main": self._main.state_dict()}
        return state if self._extra is None else state | {"auxiliary": self._extra.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where both stood."""
        self._main.load_state_dict(state["main"])
        if self._extra is not None:
            self._extra.load_state_dict(state["auxiliary"])

    def close(self) -> None:
        """Close both."""
        self._main.close()
        if self._extra is not None:
            self._extra.close()


class Mixed:
    """A stage's objective with an auxiliary one beside it; what is counted and validated is the first alone."""

    def __init__(self, main: Any, extra: Any, settings: Auxiliary) -> None:
        self._main, self._extra, self._settings = main, extra, settings

    @property
    def gathers(self) -> bool:
        """Whether the first's loss needs every process: it alone is asked of shares that may be empty."""
        return bool(self._main.gathers)

    @property
    def adversary(self) -> nn.Module | None:
        """The first's."""
        opposing: nn.Module | None = self._main.adversary
        return opposing

    def stream(self, specs: Many[DatasetSpec], *, rows: int, seed: int, repeat: bool) -> MixedStream:
        """Batches of the first, with the auxiliary's where they are to be learned."""
        main = self._main.stream(specs, rows=rows, seed=seed, repeat=repeat)
        if not repeat:
            return MixedStream(main, None)
        settings = self._settings
        seed = derive(seed, "auxiliary")
        return MixedStream(main, self._extra.stream(settings.data, rows=settings.rows, seed=seed, repeat=True))

    def prepare(self, batch: MixedBatch, seed: int) -> MixedBatch:
        """Both prepared, and their losses set against each other."""
        main = self._main.prepare(batch.main, seed)
        if batch.extra is None:
            return MixedBatch(main, None)
        extra = self._extra.prepare(batch.extra, derive(seed, "auxiliary"))
        scale = self._settings.weight * self._main.count(main) / max(1, self._extra.count(extra))
        return MixedBatch(main, extra, scale)

    def conclude(self, model: Omni) -> None:
        """Both are brought to their end."""
        self._main.conclude(model)
        self._extra.conclude(model)

    def count(self, batch: MixedBatch) -> int:
        """What the first counts."""
        counted: int = self._main.count(batch.main)
        return counted

    def n_bytes(self, batch: MixedBatch) -> int:
        """The first's."""
        n_bytes: int = self._main.n_bytes(batch.main)
        return n_bytes

    def loss(self, model: Omni, batch: MixedBatch) -> Tensor:
        """The first's loss, and the second's at its scale."""
        loss: Tensor = self._main.loss(model, batch.main)
        if batch.extra is None:
            return loss
        extra: Tensor = self._extra.loss(model, batch.extra)
        return loss + batch.scale * extra

    def flops(self, model: Omni, batch: MixedBatch) -> float:
        """Of both."""
        extra = 0.0 if batch.extra is None else self._extra.flops(model, batch.extra)
        return float(self._main.flops(model, batch.main) + extra)
