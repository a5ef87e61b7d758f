"""Answers that are pictures or speech: made by the model, read or heard by judges that share nothing with it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import PIL.Image
import soxr
import torch
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from sensorium.api import Model
from sensorium.codecs import losses
from sensorium.codecs.speech import SpeechCodec
from sensorium.config import AudioConfig, ImageConfig
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.errors import DataError, RequestError
from sensorium.evaluation import sound_quality
from sensorium.evaluation.examples import Example
from sensorium.evaluation.judging import Share
from sensorium.evaluation.picture_reading import picture_score, read_picture
from sensorium.evaluation.recognition import RATE, SpeechJudge, speech_errors
from sensorium.messages import Audio, Image, Message
from sensorium.processing.audio import load_audio
from sensorium.processing.images import load_image

Pixels: TypeAlias = npt.NDArray[np.uint8]
Samples: TypeAlias = npt.NDArray[np.float32]

M = TypeVar("M", Image, Audio)

_WORD = re.compile(r"[a-zA-Z']+")
_TALKS = 3_000  # in which every word of the world is said
_SEED = 1_000_003  # apart from the seeds that examples are drawn by


@dataclass(frozen=True, slots=True)
class Made:
    """What an answer is worth: its share of the score, further scores, and what baselines reach on the same example.

    `codes` are those that a codec used; `pictures` the true one and the made one, where there are such.
    """

    share: Share
    also: dict[str, Share] = field(default_factory=dict)
    baselines: dict[str, Share] = field(default_factory=dict)
    codes: frozenset[int] = frozenset()
    pictures: tuple[Pixels, ...] = ()


def make(model: Model, example: Example, kind: str, metric: str, *, seed: int) -> Made:
    """Let the model answer an example by what its task asks for, and judge it.

    Raises:
        RequestError: the model cannot make such an answer.
        DataError: the example holds no picture or recording to compare with.
    """
    return _MAKERS[kind](model, example, metric, seed + _SEED)


def _picture(model: Model, example: Example, metric: str, seed: int) -> Made:
    """A picture as asked for, read by classical vision.

    Baselines: `unchanged` is the last picture before, `codec` the true one through the model's own codec (where it
    changes another, beside what stays of that), `original` the true one: what the reader makes of it bounds all scores.
    """
    answer = model.chat(list(example.context), reply="image", seed=seed, n=1)
    assert isinstance(answer, Message)
    drawn = next((part for part in answer.parts if isinstance(part, Image)), None)
    if drawn is None:
        raise RequestError(f"{model.name} drew nothing")
    true = _true(example, Image)
    codecs = model.processor.codecs
    assert codecs is not None
    shown = [part for message in example.context for part in message.parts if isinstance(part, Image)]
    before = codecs.shown(shown[-1]) if shown else None
    again = codecs.picture(codecs.picture_ids(true, of=before).tolist(), of=before)
    compared = {"original": true, "codec": Image(data=again)} | ({"unchanged": shown[-1]} if shown else {})
    pixels = pixels_of(drawn)
    scores = picture_score(read_picture(pixels), example.facts)
    part = "right" if metric == "picture_right" else "share"
    baselines = {
        name: (picture_score(read_picture(pixels_of(other)), example.facts)[part], 1.0)
        for name, other in compared.items()
    }
    also = {name: (score, 1.0) for name, score in scores.items() if name != part}
    return Made((scores[part], 1.0), also, baselines, pictures=(pixels_of(true), pixels))


def _speech(model: Model, example: Example, metric: str, seed: int) -> Made:  # noqa: ARG001 (as all makers)
    """A spoken answer, written down by a recogniser: its errors against what was to be said.

    Also: errors of the words that stand beside the speech, and of what is heard against these words. Baselines:
    `original` is what the recogniser makes of the true recording, `codec` of that through the model's own codec.
    """
    answer = model.chat(list(example.context), reply="speech", seed=seed, n=1)
    assert isinstance(answer, Message)
    truth, language = str(example.facts["transcript"]), example.language
    spoken = [samples_of(part) for part in answer.parts if isinstance(part, Audio)]
    heard = _heard(np.concatenate(spoken)) if spoken else ""
    written = answer.text
    originals = [samples_of(part) for part in example.made if isinstance(part, Audio)]
    if not originals:
        raise DataError("an example of speech holds no recording to compare with")
    codecs = model.processor.codecs
    assert codecs is not None and codecs.speech is not None  # noqa: PT018
    again = [through_codec(model, samples)[0] for samples in originals]
    return Made(
        speech_errors(heard, truth, language),
        {"words": speech_errors(written, truth, language), "heard_of_words": speech_errors(heard, written, language)},
        {
            "original": speech_errors(_heard(np.concatenate(originals)), truth, language),
            "codec": speech_errors(_heard(np.concatenate(again)), truth, language),
        },
    )


def _image_codec(model: Model, example: Example, metric: str, seed: int) -> Made:  # noqa: ARG001 (as all makers)
    """A picture through the codec and back: PSNR in dB, with SSIM and what the reader finds."""
    codecs = model.processor.codecs
    if codecs is None or codecs.image is None:
        raise RequestError(f"{model.name} has no image codec")
    true = _true(example, Image)
    ids = codecs.picture_ids(true).tolist()
    again = pixels_of(Image(data=codecs.picture(ids)))
    original = np.asarray(PIL.Image.fromarray(pixels_of(true)).resize(again.shape[1::-1], PIL.Image.Resampling.BICUBIC))
    ours, theirs = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in (again, original))
    also = {"ssim": (float(losses.structural_similarity(ours, theirs)), 1.0)}
    if "things" in example.facts:
        also["read"] = (picture_score(read_picture(again), example.facts)["share"], 1.0)
    share = float(losses.peak_signal_to_noise(ours, theirs)), 1.0
    codes = frozenset(index - codecs.image.config.first_id for index in ids)
    return Made(share, also, codes=codes, pictures=(original, again))


def _speech_codec(model: Model, example: Example, metric: str, seed: int) -> Made:  # noqa: ARG001 (as all makers)
    """A recording through the codec and back, in its own voice: mel distance, STFT distance, STOI, and errors heard."""
    true = samples_of(_true(example, Audio))
    again, codes = through_codec(model, true)
    also: dict[str, Share] = {
        "stft_distance": (sound_quality.stft_distance(again, true), 1.0),
        "stoi": (sound_quality.stoi(again, true), 1.0),
    }
    said = str(example.facts.get("transcript", ""))
    baselines: dict[str, Share] = {}
    if said:
        also["errors"] = speech_errors(_heard(again), said, example.language)
        also["errors_of_original"] = speech_errors(_heard(true), said, example.language)
    return Made((sound_quality.mel_distance(again, true), 1.0), also, baselines, codes=codes)


_MAKERS: dict[str, Callable[[Model, Example, str, int], Made]] = {
    "picture": _picture,
    "speech": _speech,
    "image_codec": _image_codec,
    "speech_codec": _speech_codec,
}


@torch.inference_mode()
def through_codec(model: Model, samples: Samples) -> tuple[Samples, frozenset[int]]:
    """A recording at `RATE` through the codec and back, in its own voice where codes do not say it, and the codes.

    Raises:
        RequestError: the model has no speech codec.
    """
    codecs = model.processor.codecs
    if codecs is None or codecs.speech is None:
        raise RequestError(f"{model.name} has no speech codec")
    codec = codecs.speech
    row = torch.from_numpy(soxr.resample(samples, RATE, codec.config.sample_rate))[None]
    codes = codec.encode(row)
    spoken = codec.decode(codes, codec.voice_of(row)) if isinstance(codec, SpeechCodec) else codec.decode(codes)
    again: Samples = soxr.resample(spoken[0].numpy(), codec.config.sample_rate, RATE)[: len(samples)]
    return np.pad(again, (0, len(samples) - len(again))), frozenset(codes[0].tolist())


def sheet(pairs: Sequence[tuple[Pixels, ...]], *, columns: int = 8, scale: int = 2) -> bytes:
    """A PNG of pictures, true ones above what was made of them, pair by pair."""
    side = max(max(picture.shape[:2]) for pair in pairs for picture in pair) * scale
    rows = -(-len(pairs) // columns)
    page = PIL.Image.new("RGB", (columns * (side + 4), rows * (2 * side + 12)), (255, 255, 255))
    for index, pair in enumerate(pairs):
        x, y = index % columns * (side + 4), index // columns * (2 * side + 12)
        for below, picture in enumerate(pair):
            page.paste(
                PIL.Image.fromarray(picture).resize((side, side), PIL.Image.Resampling.NEAREST), (x, y + below * side)
            )
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(part: Image) -> Pixels:
    """A picture as (height, width, 3) levels. Raises `DataError` when it cannot be read."""
    return np.asarray(load_image(part, ImageConfig()))


def samples_of(part: Audio) -> Samples:
    """A recording as samples at 16 kHz. Raises `DataError` when it cannot be read."""
    return load_audio(part, AudioConfig())


def _true(example: Example, kind: type[M]) -> M:
    """The picture or recording of an example: what was to be made, else what is shown or played last."""
    parts = [part for message in example.context for part in message.parts] + [*example.made]
    found = [part for part in parts if isinstance(part, kind)]
    if not found:
        raise DataError(f"an example holds no {kind.__name__.lower()} to compare with")
    return found[-1]


def _heard(samples: Samples) -> str:
    """What the recogniser writes down of speech, its English in words of the vocabulary in play."""
    return within(_judge().transcribe(samples), spoken_words())


@lru_cache(1)
def spoken_words() -> tuple[str, ...]:
    """The English words that the generated world's speech is made of, as training says it."""
    spec = WorldSpec(kinds={"dictation": 1, "speak": 1, "recite": 1}, languages=("en",))
    world = World(spec, "train")
    said = " ".join(str(world.talk(index).facts["transcript"]) for index in range(_TALKS))
    return tuple(sorted(set(_WORD.findall(said.lower()))))


def within(text: str, words: Sequence[str]) -> str:
    """A text whose English words are each the nearest one of a vocabulary, by the share of letters to be changed."""
    known = frozenset(words)

    def nearest_word(match: re.Match[str]) -> str:
        word = match[0].lower()
        if word in known:
            return word
        found = process.extractOne(word, words, scorer=Levenshtein.normalized_similarity)
        return word if found is None else str(found[0])

    return _WORD.sub(nearest_word, text)


@lru_cache(1)
def _judge() -> SpeechJudge:
    return SpeechJudge()
