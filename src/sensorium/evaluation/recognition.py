"""Independent judges of speech: they write down what is said, so that its errors can be counted."""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sensorium.config import SpeechConfig
from sensorium.errors import ConfigError, RequestError
from sensorium.evaluation.metrics import character_errors, word_errors
from sensorium.hub.folder import load_pretrained
from sensorium.nn.omni import Omni
from sensorium.processing.mel import audio_windows, check_samples

Samples: TypeAlias = npt.NDArray[np.float32]

RATE = 16_000  # samples a second
_SILENT = 1e-4  # below this nothing is said


class SpeechJudge:
    """Ears that write down English and Chinese, by default those that come with the package (`recipes/judge.yaml`).

    They share nothing with the models they judge: neither form nor voices. What they spell is in lower case, with
    punctuation; they are loaded when first asked.

    Args:
        name: a model that spells by CTC: a shipped name, a folder or a hub id.

    Raises:
        CheckpointError, RequestError: from use: there is no such model, or it does not spell what it hears.
    """

    def __init__(self, name: str | Path = "judge") -> None:
        self.name = str(name)

    def transcribe(self, samples: Samples) -> str:
        """What a recording says, by the likeliest class of every place: (n,) samples at `RATE`.

        Raises:
            DataError: no samples, or some that are not finite.
            CheckpointError, RequestError: see the class.
        """
        model, settings = self._ears
        check_samples(samples, RATE)
        if float(np.abs(samples).max()) < _SILENT:
            return ""
        said = []
        with torch.inference_mode():
            for window in audio_windows(samples, settings.audio):
                mel = torch.from_numpy(window)[None]  # (1, mels, frames)
                scores, _ = model.spell(mel, torch.tensor([mel.shape[2]]))  # (1, places, classes)
                said.append(read_classes(scores[0].argmax(-1).tolist()))
        return "".join(said)

    @cached_property
    def _ears(self) -> tuple[Omni, SpeechConfig]:
        pretrained = load_pretrained(self.name)
        settings = pretrained.config.speech
        if settings is None or not settings.ctc:
            raise RequestError(f"{self.name} cannot judge speech: it does not spell what it hears (speech.ctc)")
        if settings.audio.sample_rate != RATE:
            raise RequestError(f"{self.name} cannot judge speech of {RATE:,} samples a second: it hears another rate")
        return pretrained.model, settings


def read_classes(classes: Sequence[int]) -> str:
    """Classes of CTC as text: 0 is blank and b + 1 the byte b; repeats are one, and bytes that are no UTF-8 none."""
    spelled = (found for found, _ in groupby(classes))
    return bytes(found - 1 for found in spelled if found).decode("utf-8", errors="ignore")


class WordLoop:
    """A recogniser that nobody here trained: pocketsphinx, English, any words of a vocabulary in any order.

    All words are as likely everywhere: no sentence is known to it. Its acoustic model is of American people, at 16 kHz.

    Args:
        words: the vocabulary, in any case.

    Attributes:
        words: those of the vocabulary that its dictionary can pronounce.
        missing: the others, which it never hears.

    Raises:
        ConfigError: pocketsphinx, of the extra `test`, is not installed.
        RequestError: it can pronounce no word of the vocabulary.
    """

    def __init__(self, words: Iterable[str]) -> None:
        try:
            pocketsphinx: Any = importlib.import_module("pocketsphinx")
        except ImportError:
            raise ConfigError(
                "a word loop needs pocketsphinx, of the extra test: pip install 'sensorium[test]'"
            ) from None
        asked = sorted({word.casefold() for word in words})
        self._decoder = pocketsphinx.Decoder(lm=None, samprate=RATE, loglevel="FATAL")
        self.words = tuple(word for word in asked if self._decoder.lookup_word(word) is not None)
        self.missing = tuple(word for word in asked if word not in self.words)
        if not self.words:
            raise RequestError(f"pocketsphinx can pronounce none of {len(asked)} words (give English ones)")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "words.lm"
            path.write_text(_equal_words(self.words), encoding="utf-8")
            self._decoder.add_lm_file("words", str(path))
        self._decoder.activate_search("words")

    def transcribe(self, samples: Samples) -> str:
        """The words of a recording, (n,) samples at `RATE`. Raises `DataError` for no samples or infinite ones."""
        check_samples(samples, RATE)
        sound = np.round(np.clip(samples, -1.0, 1.0) * 32_767).astype("<i2")
        self._decoder.start_utt()
        self._decoder.process_raw(sound.tobytes(), no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found is not None else ""


def speech_errors(heard: str, said: str, language: str) -> tuple[int, int]:
    """Errors of a transcript and the length of what was said: in words, in Chinese in characters (see `metrics`)."""
    return (character_errors if language == "zh" else word_errors)(heard, said)


def _equal_words(words: Sequence[str]) -> str:
    """A language model in ARPA's format in which any word follows any, all with equal probability."""
    log = -math.log10(len(words) + 1)  # and the end of the sentence
    lines = "\n".join(f"{log:.4f} {word}" for word in words)
    return f"\\data\\\nngram 1={len(words) + 2}\n\n\\1-grams:\n-99.0 <s>\n{log:.4f} </s>\n{lines}\n\n\\end\\\n"
