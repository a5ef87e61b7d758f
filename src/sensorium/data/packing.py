"""Packing: documents of many lengths into rows of one length, none of which sees another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import DataError
from sensorium.processing.media import Feature

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Piece:
    """What fills a stretch of a row: inputs and, for each, what is to be predicted there (-100 for nothing).

    `features` are the pictures and recordings whose placeholders are among the inputs, by their places there.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    features: tuple[Feature, ...] = ()

    def __len__(self) -> int:
        return len(self.inputs)


def pieces(
    token_ids: NDArray[np.int32],
    learned: NDArray[np.bool_],
    time: int,
    *,
    shift: bool = True,
    features: Sequence[Feature] = (),
) -> Iterator[Piece]:
    """A document as pieces of at most `time` inputs.

    With `shift`, the target at a place is the next token, so that n tokens make n - 1 places, and windows of a long
    document overlap by the one token that the next window reads only. Without, the target is the token itself, for
    masked objectives. Pieces in which nothing is learned are left out.

    Args:
        token_ids: (n,).
        learned: (n,), true where a token is to be predicted.
        time: the longest piece.
        shift: whether targets are the next tokens.
        features: pictures and recordings with their places among the tokens.

    Raises:
        DataError: a feature's placeholders are not all in one piece.
    """
    ids = token_ids.astype(np.int64)
    labels = np.where(learned, ids, IGNORED)
    inputs, targets = (ids[:-1], labels[1:]) if shift else (ids, labels)
    placed = 0
    for begin in range(0, len(inputs), time):
        window = slice(begin, begin + time)
        inside = [feature for feature in features if begin <= feature.start and feature.end <= begin + time]
        placed += len(inside)
        if (targets[window] != IGNORED).any():
            yield Piece(inputs[window], targets[window], tuple(feature.moved(-begin) for feature in inside))
    if placed < len(features):
        cut = f"{len(features) - placed} of its {len(features)} pictures and recordings"
        raise DataError(f"longer than a row of {time} tokens, which would cut off {cut}")


def pack(lengths: Sequence[int], time: int, *, window: int = 128) -> list[list[int]]:
    """Which pieces share a row, so that rows of `time` are as full as they can be.

    Each row takes the oldest piece left, so that none waits for ever, and then the subset of the `window` oldest that
    fills it best: the reachable sums are the bits of one integer, a knapsack at a few operations a piece.

    Returns:
        Rows, each the indices of its pieces in the order given.

    Raises:
        ValueError: a piece is longer than a row, or empty.
    """
    if lengths and not 0 < min(lengths) <= max(lengths) <= time:
        raise ValueError(f"pieces of {min(lengths)} to {max(lengths)} do not fit rows of {time}")
    left = list(range(len(lengths)))
    rows = []
    while left:
        oldest, others = left[0], left[1:window]
        chosen = _best_fill([lengths[index] for index in others], time - lengths[oldest])
        row = [oldest, *(others[place] for place in chosen)]
        rows.append(row)
        taken = set(row)
        left = [index for index in left[:window] if index not in taken] + left[window:]
    return rows


def _best_fill(sizes: list[int], room: int) -> list[int]:
    """The places of `sizes` whose sum comes nearest to `room` from below, earlier ones preferred."""
    mask = (1 << (room + 1)) - 1
    reachable = [1]  # bit s of the k-th: the sum s can be made of the first k sizes
    for size in sizes:
        reachable.append((reachable[-1] | reachable[-1] << size) & mask)
    total = reachable[-1].bit_length() - 1
    chosen = []
    for place in range(len(sizes) - 1, -1, -1):
        if not reachable[place] >> total & 1:
            chosen.append(place)
            total -= sizes[place]
    return chosen[::-1]
