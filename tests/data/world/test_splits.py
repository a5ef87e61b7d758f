"""What is held out stays held out, and both sides know all the words."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.world.splits import SPLITS, pairs, side
from sensorium.data.world.things import COLOURS, KINDS
from sensorium.errors import ConfigError


def test_about_a_tenth_of_the_keys_is_held_out() -> None:
    sides = Counter(side(f"sentence {number}") for number in range(5000))
    assert 400 < sides["validation"] < 600


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_what_a_smaller_share_holds_out_a_larger_one_does_too(key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert side(key, low) == "train" or side(key, high) == "validation"


def test_a_key_is_on_the_same_side_in_every_process() -> None:
    held_out = [number for number in range(8) if side(f"voice {number}", 0.5) == "validation"]
    assert held_out == [1, 3, 4, 6]


def test_a_share_of_none_or_all() -> None:
    assert {side(str(number), 0.0) for number in range(50)} == {"train"}
    assert {side(str(number), 1.0) for number in range(50)} == {"validation"}


def test_the_pairs_are_parted_without_rest() -> None:
    train, validation = (set(pairs(split)) for split in SPLITS)
    assert not train & validation
    assert train | validation == {(colour, kind) for colour in COLOURS for kind in KINDS}


def test_every_kind_is_held_out_once_and_every_colour_twice() -> None:
    assert Counter(kind for _, kind in pairs("validation")) == dict.fromkeys(KINDS, 1)
    assert Counter(colour for colour, _ in pairs("validation")) == dict.fromkeys(COLOURS, 2)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"held_out is .*: give a share within 0\.\.1"):
        side("voice 1", share)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="split is 'test': give one of train, validation"):
        pairs("test")
