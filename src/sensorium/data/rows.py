"""Batches of so many rows, whatever a row is made of: the makers behind pairs, prompts and raw media."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sensorium.data.mixture import Mixture, Varied
from sensorium.data.records import Record
from sensorium.data.resumable import Now

E = TypeVar("E", bound=Varied)
T = TypeVar("T")
B = TypeVar("B")


class RowMaker(ABC, Generic[E, T, B]):
    """Draws records from a mixture, makes rows of them, and batches of those.

    Args:
        mixture: where records come from, with what reads them.
        rows: of a batch; the last batch of data that end may hold fewer.
    """

    def __init__(self, mixture: Mixture[E], rows: int) -> None:
        self._mixture, self._rows = mixture, rows

    @abstractmethod
    def made(self, record: Record, encoder: E) -> list[T]:
        """The rows that a record is. Raises `DataError` when it is none."""

    @abstractmethod
    def batch(self, rows: Sequence[T]) -> B:
        """Rows as a batch."""

    def now(self) -> Now:
        """Where it stands."""
        return {"cursor": self._mixture.state_dict(), "bad": self._mixture.bad}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a cursor. Raises `DataError` when it was saved over other data or settings."""
        self._mixture.load_state_dict(state)

    def batches(self) -> Iterator[tuple[B | None, Now]]:
        """Batches, each with the now after it; None and the last of these at the end.

        A batch ends where a record does: what one record makes beyond it is let go.
        """
        waiting: list[T] = []
        while self._mixture.live:
            waiting += self._mixture.draw(self.made, lambda _: 1)
            if len(waiting) >= self._rows:
                yield self.batch(waiting[: self._rows]), self.now()
                waiting = []
        if waiting:
            yield self.batch(waiting), self.now()
        yield None, self.now()
