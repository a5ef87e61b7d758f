import numpy as np
import pytest
import torch

from sensorium.errors import DataError
from sensorium.processing.media import Feature, media_of


def image(start: int, level: float = 0.0) -> Feature:
    return Feature("image", start, 4, np.full((3, 2, 2), level, np.float32))


def sound(start: int, frames: int, lowest: float = -1.0) -> Feature:
    values = np.zeros((5, frames), np.float32)
    values[2, 0] = lowest
    return Feature("audio", start, frames // 2, values)


def test_a_batch_without_media_holds_none() -> None:
    media = media_of([[], []])
    assert not media
    assert (media.images, media.audio, media.image_places.shape) == (None, None, (0, 3))


def test_media_stand_in_the_order_of_rows_with_their_places() -> None:
    media = media_of([[image(1, 0.1), sound(9, 6), image(20, 0.2)], [], [image(0, 0.3)]])
    assert media.images is not None
    assert media.images[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert media.image_places.tolist() == [[0, 1, 4], [0, 20, 4], [2, 0, 4]]
    assert media.audio_places.tolist() == [[0, 9, 3]]
    assert media.audio_frames.tolist() == [6]


def test_shorter_recordings_are_filled_up_with_their_lowest_value() -> None:
    media = media_of([[sound(0, 4, lowest=-3.0)], [sound(0, 8)]])
    assert media.audio is not None
    assert media.audio.shape == (2, 5, 8)
    assert (media.audio[0, :, 4:] == -3).all()
    assert media.audio_frames.tolist() == [4, 8]


def test_frames_that_only_fill_a_window_up_are_not_counted() -> None:
    filled = Feature("audio", 0, 2, np.zeros((5, 30), np.float32), frames=7)
    assert media_of([[filled]]).audio_frames.tolist() == [7]


def test_pictures_of_several_sizes_are_no_batch() -> None:
    larger = Feature("image", 0, 4, np.zeros((3, 4, 4), np.float32))
    with pytest.raises(DataError, match="pictures of 3x2x2 and 3x4x4"):
        media_of([[image(0)], [larger]])
    with pytest.raises(DataError, match="recordings of 5 and 6"):
        media_of([[sound(0, 2)], [Feature("audio", 0, 1, np.zeros((6, 2), np.float32))]])


def test_a_feature_moves_with_its_places() -> None:
    assert (image(3).moved(4).start, image(3).moved(4).end) == (7, 11)
    assert torch.equal(torch.from_numpy(image(3, 0.5).moved(2).values), torch.full((3, 2, 2), 0.5))
