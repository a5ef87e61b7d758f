"""Speech is a function of its arguments: of nothing that was said before, by whom, where or when."""

import hashlib
import io
import multiprocessing
import subprocess
import sys
import threading
import wave
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sensorium.data.world import espeak
from sensorium.data.world.espeak import MAX_CHARACTERS, Manner, synthesise
from sensorium.data.world.speech import RATE, speak, wav_bytes
from sensorium.data.world.voices import JUDGE, LANGUAGES, espeak_name, variants, voice_of
from sensorium.errors import ConfigError, DataError

SENTENCES = {"en": "How many red apples are there?", "zh": "图片里有几个红色的苹果？"}
GROUPS = ("train", "validation", JUDGE)
VARIANTS = [variant for group in GROUPS for variant in variants(group)]


def digest(language: str, voice: int, split: str = "train") -> str:
    samples = speak(SENTENCES[language], language, voice, split=split)
    return hashlib.blake2b(wav_bytes(samples), digest_size=8).hexdigest()


def chatter() -> None:
    """Something else, by voices that keep much state of their own (noise, echo, flutter)."""
    for name in ("gmw/en+whisper", "sit/cmn+klatt2", "gmw/en+f2"):
        synthesise("One, two, three!", name, Manner(240, 90, 90))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.usefixtures("world_extra")
def test_speech_is_sound_of_a_sensible_length(language: str) -> None:
    samples = speak(SENTENCES[language], language, 3, split="train")
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0.8 * RATE < len(samples) < 5 * RATE
    assert 0.02 < np.abs(samples).max() <= 1.0


@pytest.mark.usefixtures("world_extra")
def test_nothing_said_before_is_heard() -> None:
    numbers = [(language, voice, group) for language in LANGUAGES for group in GROUPS for voice in range(12)]
    first = [digest(*number) for number in numbers]
    chatter()
    again = []
    for number in reversed(numbers):
        again.append(digest(*number))
        chatter()
    assert again[::-1] == first


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("group", ["train", JUDGE])
@pytest.mark.usefixtures("world_extra")
def test_other_processes_say_the_same(group: str, language: str) -> None:
    script = (
        "from sensorium.data.world.speech import speak, wav_bytes; import hashlib\n"
        "for v in range(12): print(hashlib.blake2b(wav_bytes("
        f"speak({SENTENCES[language]!r}, {language!r}, v, split={group!r})), digest_size=8).hexdigest())"
    )
    # Memory that is handed out is filled with other bytes there: a voice that reads what nobody wrote would differ.
    environment = {"PYTHONPATH": ":".join(sys.path), "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(language, voice, group) for voice in range(12)]


@pytest.mark.usefixtures("world_extra")
def test_threads_say_the_same() -> None:
    alone = [digest("zh", voice) for voice in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(digest, ["zh"] * 12, range(12))) == alone


@pytest.mark.skipif(not hasattr(multiprocessing, "get_context") or sys.platform == "win32", reason="fork is of Unix")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.usefixtures("world_extra")
def test_a_fork_while_another_thread_speaks_can_speak() -> None:
    wanted = digest("en", 0)
    stop = threading.Event()

    def babble() -> None:
        while not stop.is_set():
            digest("zh", 1)

    speaker = threading.Thread(target=babble)
    speaker.start()
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.starmap(digest, [("en", 0)] * 6) == [wanted] * 6
    finally:
        stop.set()
        speaker.join()


@pytest.mark.usefixtures("world_extra")
def test_an_even_voice_says_everything_alike() -> None:
    short, again = (speak(SENTENCES["en"], "en", 0, split="train", take=None) for _ in range(2))
    assert np.array_equal(short, again)
    alone, twice = (speak(text, "en", 3, split="train", take=None) for text in ("one two", "one two one two"))
    assert len(twice) == pytest.approx(2 * len(alone), rel=0.25)
    loudness = [float(np.sqrt((said**2).mean())) for said in (alone, twice)]
    assert loudness[0] == pytest.approx(loudness[1], rel=0.2)


@pytest.mark.usefixtures("world_extra")
def test_a_take_varies_length_and_loudness_and_a_voice_stays() -> None:
    takes = [speak(SENTENCES["en"], "en", 0, split="train", take=take) for take in range(8)]
    assert len({len(take) for take in takes}) == 8
    assert max(map(len, takes)) > 1.1 * min(map(len, takes))
    peaks = [float(np.abs(take).max()) for take in takes]
    assert max(peaks) > 1.5 * min(peaks)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.usefixtures("world_extra")
def test_voices_differ_audibly(language: str) -> None:
    """Every two variants, saying the same in the same manner, differ by more than 1 dB a band on average."""
    spectra = [spectrum(synthesise(SENTENCES[language], f"{LANGUAGES[language]}+{name}")) for name in VARIANTS]
    distances = [np.abs(a - b).mean() for index, a in enumerate(spectra) for b in spectra[:index]]
    assert min(distances) > 1.0


def spectrum(samples: np.ndarray) -> np.ndarray:
    """(40,): the mean power in each of 40 bands of 100 Hz up to 4 kHz, in dB, all bands' mean taken off."""
    frames = np.lib.stride_tricks.sliding_window_view(samples / 2**15, 1024)[::512] * np.hanning(1024)
    power = (np.abs(np.fft.rfft(frames)) ** 2).mean(0)
    bands = np.array([band.sum() for band in np.array_split(power[: 1024 * 4000 // espeak.RATE], 40)])
    decibels: np.ndarray = 10 * np.log10(bands + 1e-9)
    return decibels - decibels.mean()


@pytest.mark.usefixtures("world_extra")
def test_women_speak_higher_than_men() -> None:
    for split in GROUPS:
        people = [voice_of(number, split) for number in range(len(variants(split)))]
        pitches = {
            sex: [pitch(synthesise("La la la la la.", espeak_name(who, "en"))) for who in people if who.person == sex]
            for sex in ("man", "woman")
        }
        assert max(pitches["man"]) < 135 < min(pitches["woman"])


def pitch(samples: np.ndarray) -> float:
    """The median fundamental in Hz, by autocorrelation of 46 ms frames."""
    frames = np.lib.stride_tricks.sliding_window_view(samples / 2**15, 1024)[::512]
    found = []
    for frame in frames[(frames**2).sum(1) > 0.1 * (frames**2).sum(1).max()]:
        correlation = np.correlate(frame, frame, "full")[1023:]
        found.append(espeak.RATE / (70 + int(np.argmax(correlation[70:300]))))
    return float(np.median(found))


@pytest.mark.usefixtures("world_extra")
def test_wav_bytes_hold_the_samples() -> None:
    samples = speak("Yes.", "en", 1, split="train")
    with wave.open(io.BytesIO(wav_bytes(samples))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        stored = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32_767
    np.testing.assert_allclose(stored, samples, atol=0.5 / 32_767 + 1e-7)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' cannot be said"),
        (" \n", "cannot be said"),
        ("a\0b", "no NUL character"),
        ("a" * (MAX_CHARACTERS + 1), "2,001 characters are too long to say .at most 2,000"),
    ],
)
def test_what_cannot_be_said_is_an_error(text: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        speak(text, "en", 0, split="train")


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no voice speaks 'fr'"):
        speak("Bonjour", "fr", 0, split="train")


@pytest.mark.usefixtures("world_extra")
def test_an_unknown_voice_is_an_error_and_the_next_one_speaks() -> None:
    wanted = digest("en", 0)
    with pytest.raises(ConfigError, match="no voice 'gmw/xx'"):
        synthesise("Yes.", "gmw/xx")
    assert digest("en", 0) == wanted


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak._installed.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'sensorium\[world\]'"):
        speak("Yes.", "en", 0, split="train")


@pytest.mark.parametrize(
    "text", ["👋🏽 ok", "½ × ∞ = ?", "今天 is a good day", "<speak>&amp;", "[[h@'loU]]", "x\ty\r\nz"]
)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.usefixtures("world_extra")
def test_odd_texts_are_said(text: str, language: str) -> None:
    assert len(speak(text, language, 2, split="train")) > RATE // 10
