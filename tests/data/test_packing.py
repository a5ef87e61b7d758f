import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.packing import IGNORED, pack, pieces

TIME = 16
lengths = st.lists(st.integers(1, TIME), max_size=60)


@given(lengths, st.integers(1, 20))
def test_every_piece_is_packed_once_and_no_row_overflows(sizes: list[int], window: int) -> None:
    rows = pack(sizes, TIME, window=window)
    assert sorted(index for row in rows for index in row) == list(range(len(sizes)))
    assert all(sum(sizes[index] for index in row) <= TIME for row in rows)


@given(lengths, st.integers(1, 20))
def test_no_piece_waits_longer_than_the_pieces_before_it_take(sizes: list[int], window: int) -> None:
    for place, row in enumerate(pack(sizes, TIME, window=window)):
        assert row[0] >= place
        assert max(row) - place < window + TIME * place + 1
        assert row == sorted(row)
    firsts = [row[0] for row in pack(sizes, TIME, window=window)]
    assert firsts == sorted(firsts)


@given(st.lists(st.integers(1, TIME), min_size=1, max_size=9))
def test_the_first_row_is_as_full_as_any_choice_with_the_oldest_makes_it(sizes: list[int]) -> None:
    row = pack(sizes, TIME)[0]
    sums = {0}
    for size in sizes[1:]:
        sums |= {total + size for total in sums}
    assert sum(sizes[index] for index in row) == max(sizes[0] + total for total in sums if sizes[0] + total <= TIME)


def test_packing_is_nearly_perfect_on_many_small_pieces() -> None:
    sizes = np.random.default_rng(0).integers(5, 120, size=2000).tolist()
    assert sum(sizes) / (len(pack(sizes, 256)) * 256) > 0.995


def test_a_piece_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="pieces of 3 to 17 do not fit rows of 16"):
        pack([3, 17], TIME)
    assert pack([], TIME) == []


documents = st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=60)


@given(documents)
def test_windows_of_a_document_predict_each_learned_token_once(document: list[tuple[int, bool]]) -> None:
    ids = np.array([token for token, _ in document], np.int32)
    learned = np.array([flag for _, flag in document])
    made = list(pieces(ids, learned, TIME))
    targets = np.concatenate([piece.targets for piece in made]) if made else np.array([])
    expected = ids[1:][learned[1:]]
    assert (targets[targets != IGNORED] == expected).all()
    assert len(targets[targets != IGNORED]) == len(expected)
    # and always from the token before it
    pairs = [(int(a), int(b)) for p in made for a, b in zip(p.inputs, p.targets, strict=True) if b != IGNORED]
    before = [(int(a), int(b)) for a, b, flag in zip(ids, ids[1:], learned[1:], strict=False) if flag]
    assert pairs == before
    assert all(0 < len(piece) <= TIME for piece in made)


@given(documents)
def test_without_shift_each_learned_token_stands_at_its_own_place(document: list[tuple[int, bool]]) -> None:
    ids = np.array([token for token, _ in document], np.int32)
    learned = np.array([flag for _, flag in document])
    made = list(pieces(ids, learned, TIME, shift=False))
    for piece in made:
        at = piece.targets != IGNORED
        assert (piece.targets[at] == piece.inputs[at]).all()
    kept = [int(token) for piece in made for token in piece.targets if token != IGNORED]
    assert kept == ids[learned].tolist()
