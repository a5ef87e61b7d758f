"""Batches made ahead, with the place after each: handing them out, stopping, and going on from any."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from sensorium.data.ahead import Ahead

B = TypeVar("B")
Made_co = TypeVar("Made_co", covariant=True)
Now: TypeAlias = dict[str, Any]


class Maker(Protocol[Made_co]):
    """Makes batches. A `Now` is plain data: the `cursor` to go on from, the `bad` records met by then, and more."""

    def batches(self) -> Iterator[tuple[Made_co | None, Now]]:
        """Batches, each with the now after it; None and the last of these at the end."""

    def now(self) -> Now:
        """Where it stands."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a cursor. Raises `DataError` when it was saved over other data or settings."""


class Resumable(Iterator[B], Generic[B]):
    """Batches from a maker, which a thread or process may run ahead of who takes them.

    Args:
        maker: makes them; where `workers` is 1 it works as a copy, in a process of its own.
        prefetch: batches that may wait; 0 makes each when it is asked for.
        workers: 0 or 1.
    """

    def __init__(self, maker: Maker[B], prefetch: int, workers: int) -> None:
        self._maker = maker
        self._prefetch, self._workers = prefetch, workers
        self._now = maker.now()
        self._waited = 0.0
        self._ahead: Ahead[B | None] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> B:
        if self._ahead is None:
            self._ahead = Ahead(self._maker.batches, self._prefetch, workers=self._workers)
        batch, self._now = next(self._ahead)
        if batch is None:
            raise StopIteration
        return batch

    @property
    def waited(self) -> float:
        """Seconds that the caller has spent waiting for batches."""
        return self._waited + (self._ahead.waited if self._ahead is not None else 0.0)

    @property
    def bad(self) -> list[str]:
        """Corrupt records met so far, as `file:line: why`."""
        return list(self._now["bad"])

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch handed out, as plain data for JSON."""
        copy: dict[str, Any] = json.loads(json.dumps(self._now["cursor"]))
        return copy

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next batch is the one that followed it, bit for bit.

        Raises:
            DataError: when the state was saved over other data or settings.
        """
        self.close()
        self._maker.load_state_dict(state)
        self._now = self._maker.now()

    def close(self) -> None:
        """Stop making batches ahead. Iterating again goes on from the same place."""
        if self._ahead is not None:
            self._ahead.close()
            self._waited += self._ahead.waited
            self._ahead = None
            self._maker.load_state_dict(self._now["cursor"])
