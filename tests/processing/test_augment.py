"""Augmentation: what is switched on, as strong as it says, the same again from the same seed."""

import numpy as np
import PIL.Image
import pytest

from sensorium.config import AugmentConfig
from sensorium.processing.augment import augment_audio, augment_image, augment_mel

RATE = 16_000
IN_TIME = {"sample_rate": RATE, "longest": 10 * RATE}
STRONG = AugmentConfig(
    flip=0.5,
    flip_rows=0.5,
    crop=0.5,
    rotation=30,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    noise_db=10,
    speed=0.1,
    gain_db=6,
    pause=0.5,
    mel_masks=2,
    time_masks=2,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(height: int = 20, width: int = 30) -> PIL.Image.Image:
    return PIL.Image.fromarray(rng(9).integers(0, 256, (height, width, 3), dtype=np.uint8))


def wave(samples: int = 8_000) -> np.ndarray:
    return (0.3 * np.sin(np.arange(samples) * 0.2)).astype(np.float32)


def mel(frames: int = 200) -> np.ndarray:
    return rng(7).standard_normal((80, frames)).astype(np.float32)


def test_nothing_is_on_by_itself_and_nothing_is_drawn() -> None:
    off, generator = AugmentConfig(), rng()
    shown, heard, spectrum = picture(), wave(), mel()
    assert augment_image(shown, off, generator) is shown
    assert augment_audio(heard, off, generator, **IN_TIME) is heard
    assert augment_mel(spectrum, off, generator) is spectrum
    assert generator.random() == rng().random()


def test_the_same_seed_varies_the_same_way_and_another_otherwise() -> None:
    def varied(seed: int) -> list[bytes]:
        generator = rng(seed)
        image = augment_image(picture(), STRONG, generator)
        audio, spectrum = (
            augment_audio(wave(), STRONG, generator, **IN_TIME),
            augment_mel(mel(), STRONG, generator),
        )
        return [image.tobytes(), audio.tobytes(), spectrum.tobytes()]

    assert varied(1) == varied(1)
    assert all(one != two for one, two in zip(varied(1), varied(2), strict=True))


def test_what_was_given_is_left_as_it_was() -> None:
    shown, heard, spectrum = picture(), wave(), mel()
    before = shown.tobytes(), heard.tobytes(), spectrum.tobytes()
    augment_image(shown, STRONG, rng())
    augment_audio(heard, STRONG, rng(), **IN_TIME)
    augment_mel(spectrum, STRONG, rng())
    assert (shown.tobytes(), heard.tobytes(), spectrum.tobytes()) == before


def test_flips_mirror() -> None:
    pixels = np.asarray(picture())
    sideways = np.asarray(augment_image(picture(), AugmentConfig(flip=1.0), rng()))
    upside = np.asarray(augment_image(picture(), AugmentConfig(flip_rows=1.0), rng()))
    assert (sideways == pixels[:, ::-1]).all()
    assert (upside == pixels[::-1]).all()


def test_flips_are_as_likely_as_they_say() -> None:
    generator, pixels = rng(), np.asarray(picture())
    shown = [np.asarray(augment_image(picture(), AugmentConfig(flip=0.25), generator)) for _ in range(400)]
    assert 70 <= sum(not (image == pixels).all() for image in shown) <= 130


def test_crops_are_parts_of_at_least_the_share() -> None:
    generator, pixels = rng(), np.asarray(picture(40, 60))
    windows = np.lib.stride_tricks.sliding_window_view
    for _ in range(10):
        part = np.asarray(augment_image(picture(40, 60), AugmentConfig(crop=0.5), generator))
        height, width = part.shape[:2]
        assert 0.45 <= height * width / (40 * 60) <= 1.0
        assert abs(width / height - 1.5) < 0.1
        found = (windows(pixels, (height, width, 3)) == part).all(axis=(-1, -2, -3))
        assert found.sum() == 1


@pytest.mark.parametrize("size", [(20, 30), (1, 1), (4, 300), (300, 4)])
def test_turning_keeps_the_size_and_bares_no_corner(size: tuple[int, int]) -> None:
    plain = PIL.Image.new("RGB", size, (200, 100, 50))
    for seed in range(5):
        turned = augment_image(plain, AugmentConfig(rotation=180), rng(seed))
        assert turned.size == size
        assert (np.asarray(turned) == [200, 100, 50]).all()


def test_a_quarter_turn_turns() -> None:
    pixels = np.zeros((21, 21, 3), np.uint8)
    pixels[:, :10] = 255
    turned = np.asarray(augment_image(PIL.Image.fromarray(pixels), AugmentConfig(rotation=180), rng(3)))
    assert not (turned == pixels).all()
    assert abs(float(turned.mean()) - float(pixels.mean())) < 15


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_change_by_no_more_than_they_may(name: str) -> None:
    grey = PIL.Image.new("RGB", (8, 8), (100, 150, 200))
    levels = np.array(
        [
            np.asarray(augment_image(grey, AugmentConfig.parse({name: 0.2}, "test"), rng(seed)))[0, 0]
            for seed in range(30)
        ]
    )
    assert (np.abs(levels - [100, 150, 200]) <= 0.2 * 200 + 1).all()
    assert len(np.unique(levels, axis=0)) > (1 if name == "contrast" else 10) - 1


def test_half_a_turn_of_hue_makes_red_cyan() -> None:
    red = PIL.Image.new("RGB", (4, 4), (255, 0, 0))
    hues = {
        augment_image(red, AugmentConfig(hue=0.5), rng(seed)).convert("HSV").getpixel((0, 0))[0] for seed in range(40)
    }
    assert len(hues) > 20
    assert all(augment_image(red, AugmentConfig(hue=0.01), rng(seed)).getpixel((0, 0))[0] == 255 for seed in range(20))


def test_noise_keeps_its_distance() -> None:
    for seed in range(10):
        noise = augment_audio(wave(), AugmentConfig(noise_db=20), rng(seed), **IN_TIME) - wave()
        distance = 20 * np.log10(np.sqrt(np.mean(wave() ** 2)) / np.sqrt(np.mean(noise**2)))
        assert 19.5 <= distance <= 50.5


def test_speed_changes_the_length_and_the_pitch() -> None:
    lengths = []
    for seed in range(10):
        faster = augment_audio(wave(), AugmentConfig(speed=0.2), rng(seed), **IN_TIME)
        lengths.append(len(faster))
        assert 8_000 / 1.2 - 1 <= len(faster) <= 8_000 / 0.8 + 1
        crossings = [int((np.diff(np.sign(x[100:-100])) != 0).sum()) for x in (wave(), faster)]
        assert abs(crossings[0] - crossings[1]) <= 20  # as many waves, in another time
    assert len(set(lengths)) > 5


def test_gain_is_within_its_decibels() -> None:
    for seed in range(10):
        factor = augment_audio(wave(), AugmentConfig(gain_db=6), rng(seed), **IN_TIME)[5] / wave()[5]
        assert 10 ** (-6 / 20) - 1e-5 <= factor <= 10 ** (6 / 20) + 1e-5


def test_pauses_stand_around_every_other_recording() -> None:
    paused = 0
    for seed in range(200):
        heard = augment_audio(wave() + 1.0, AugmentConfig(pause=0.5), rng(seed), **IN_TIME)
        (sounding,) = np.nonzero(heard)
        assert np.array_equal(heard[sounding[0] : sounding[-1] + 1], wave() + 1.0)
        assert sounding[0] <= RATE / 2
        assert len(heard) - 1 - sounding[-1] <= RATE / 2
        paused += len(heard) > 8_000
    assert 70 < paused < 130


def test_pauses_fit_and_leave_the_noise_its_distance() -> None:
    config, lengths = AugmentConfig(pause=9.0, noise_db=20), set()
    for seed in range(40):
        heard = augment_audio(wave(), config, rng(seed), sample_rate=RATE, longest=9_000)
        lengths.add(len(heard))
        only = augment_audio(wave(), AugmentConfig(pause=9.0), rng(seed), sample_rate=RATE, longest=9_000)
        distance = 20 * np.log10(np.sqrt(np.mean(wave() ** 2)) / np.sqrt(np.mean((heard - only) ** 2)))
        assert 19.0 <= distance <= 51.0
    assert 8_000 < max(lengths) <= 9_000


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
def test_the_shortest_recordings_stay_recordings(samples: int) -> None:
    heard = augment_audio(np.ones(samples, np.float32), STRONG, rng(), **IN_TIME)
    assert heard.dtype == np.float32
    assert (len(heard) > 0) == (samples > 0)
    assert np.isfinite(heard).all()


def test_masks_are_whole_bands_and_stretches_of_silence() -> None:
    config = AugmentConfig(mel_masks=1, mel_width=10, time_masks=1, time_width=30)
    for seed in range(10):
        hidden = augment_mel(mel(), config, rng(seed))
        silent = hidden == mel().min()
        bands, stretches = silent.all(axis=1), silent.all(axis=0)
        assert bands.sum() <= 10
        assert stretches.sum() <= 30
        kept = ~(bands[:, None] | stretches[None, :])
        assert (hidden[kept] == mel()[kept]).all()
    one = augment_mel(mel(1), AugmentConfig(time_masks=5), rng())
    np.testing.assert_array_equal(one, mel(1))  # no mask hides more than a fifth of the frames
