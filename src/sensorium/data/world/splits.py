"""Which side of the split a piece of content is on: by hash, so that it is the same for every task and language."""

from __future__ import annotations

import hashlib
from typing import Literal, TypeGuard

from sensorium.data.world.things import COLOURS, KINDS
from sensorium.errors import ConfigError

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
Pair = tuple[str, str]  # (colour, kind)


def side(key: str, held_out: float = 0.1) -> Split:
    """The split of whatever `key` names: a sentence, a voice, a handwriting, the seed of a sky.

    Args:
        key: what names the content; begin it with its sort ("voice 12"), so that sorts are split apart.
        held_out: the share of keys that are for validation, within 0..1.

    Raises:
        ConfigError: the share is out of range.
    """
    if not 0 <= held_out <= 1:
        raise ConfigError(f"held_out is {held_out}: give a share within 0..1")
    return "validation" if _fraction(key) < held_out else "train"


def check_split(split: str) -> Split:
    """The split as a checked name. Raises `ConfigError` for any other."""
    if _is_split(split):
        return split
    raise ConfigError(f"split is {split!r}: give one of {', '.join(SPLITS)}")


def pairs(split: str) -> tuple[Pair, ...]:
    """The (colour, kind) pairs that talk and pictures of a split may hold.

    Training never meets a pair of validation, in any task or language. Every kind is held out in one colour and
    every colour in two kinds, so that both sides know all the words.

    Raises:
        ConfigError: the split is unknown.
    """
    return _PAIRS[check_split(split)]


def _is_split(split: str) -> TypeGuard[Split]:
    return split in SPLITS


def _fraction(key: str) -> float:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _held_out_pairs() -> frozenset[Pair]:
    kinds = sorted(KINDS, key=lambda kind: _fraction(f"kind {kind}"))
    colours = sorted(COLOURS, key=lambda colour: _fraction(f"colour {colour}"))
    return frozenset((colours[index % len(colours)], kind) for index, kind in enumerate(kinds))


_HELD_OUT = _held_out_pairs()
_PAIRS: dict[Split, tuple[Pair, ...]] = {
    "train": tuple((colour, kind) for kind in KINDS for colour in COLOURS if (colour, kind) not in _HELD_OUT),
    "validation": tuple((colour, kind) for kind in KINDS for colour in COLOURS if (colour, kind) in _HELD_OUT),
}
