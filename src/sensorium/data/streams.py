"""Which stream reads a data set."""

from __future__ import annotations

from sensorium.data.spec import DatasetSpec
from sensorium.data.stream import RecordStream
from sensorium.data.world.stream import WorldStream

Stream = RecordStream | WorldStream


def record_stream(
    spec: DatasetSpec,
    *,
    seed: int | tuple[int, ...] = 0,
    shuffle: bool = True,
    repeat: bool = True,
    media: bool = True,
) -> Stream:
    """The records of a data set, whether they are read or made.

    Args:
        spec: the data set.
        seed: of the order; the same seed gives the same.
        shuffle: false keeps the order of the files.
        repeat: whether to begin again after the last record.
        media: false lets the generated world leave out its pictures and recordings, for who wants words alone.

    Raises:
        DataError: see `RecordStream` and `WorldStream`.
    """
    if spec.world is not None:
        return WorldStream(spec, seed=seed, shuffle=shuffle, repeat=repeat, media=media)
    return RecordStream(spec, seed=seed, shuffle=shuffle, repeat=repeat)
