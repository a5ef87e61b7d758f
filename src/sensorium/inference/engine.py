"""From a prompt to a stream of deltas: reading, choosing, stopping."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sensorium.config import SamplingConfig
from sensorium.errors import RequestError
from sensorium.inference.decoding import Decoder
from sensorium.inference.drafts import Easel
from sensorium.inference.grammar import WORDS, Grammar, Making, Vocabulary
from sensorium.inference.reply import Reply, Studio, samplers
from sensorium.inference.sampler import Constraint, check_token_ids
from sensorium.inference.text import TextStream
from sensorium.inference.threads import torch_threads
from sensorium.messages import Delta
from sensorium.nn.features import check_media
from sensorium.nn.media import Media
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor

Prompt: TypeAlias = tuple[Sequence[int], Media | None]
"""Token ids, and the pictures and recordings whose placeholders they hold."""

MOST_PAINTINGS = 128


class Engine:
    """Writes replies with a model and its processor. Several threads may use one engine at a time."""

    def __init__(
        self,
        model: Omni,
        processor: Processor | None,
        *,
        threads: int | None = None,
        compile: bool | Literal["auto"] = "auto",
    ) -> None:
        """Hold a model ready.

        Args:
            model: in eval mode.
            processor: its tokenizer, and the tokens that end a reply; without one the engine only scores tokens.
            threads: CPU threads to compute with; by default one for a small model, else what a short trial favours.
            compile: compile the step that writes one reply (true: before its first use, which may take a minute;
                "auto": in the background, once a few hundred tokens have shown that it will pay). It gives the same
                scores and needs a C++ compiler; a machine without one goes on uncompiled.
        """
        self._model_config, self._config = model.config, model.config.decoder
        self._processor = processor
        self._decoder = Decoder(model, threads=threads, compile=compile)

    def stream(
        self,
        prompt: Sequence[int],
        sampling: SamplingConfig,
        *,
        media: Media | None = None,
        blind: Prompt | None = None,
        cancel: threading.Event | None = None,
        constraint: Constraint | None = None,
        making: Making = WORDS,
        wordless: Prompt | None = None,
    ) -> Iterator[Delta]:
        """Write `sampling.n` replies to a prompt, side by side.

        Args:
            prompt: token ids.
            media: the pictures and recordings whose placeholders the prompt holds (row 0).
            blind: the prompt without its pictures, and what media are left, which `sampling.guidance` leans away
                from; none leaves the reply unguided.
            sampling: how to choose tokens and when to stop. Without `max_tokens` a reply may fill the context.
            cancel: once set, every reply ends at its next token with `cancelled`.
            constraint: which words are allowed next.
            making: whether the reply is words, pictures or speech.
            wordless: the prompt without its words, and its media, which `sampling.image_guidance`,
                `sampling.image_edit_guidance` and `sampling.speech_guidance` lean away from; none leaves pictures and
                speech unguided.

        Yields:
            `TextDelta`s of whole characters, `ImageDelta`s of whole pictures, `AudioDelta`s as soon as there is sound,
            and one `Done` per reply. A stop string and a stop token are never part of the text; of a reply that ends
            in the middle of a picture, that picture is left out.

        Raises:
            RequestError: an empty or too long prompt, an unknown token, a placeholder without its picture or
                recording (or the other way round), a model that cannot write, draw or speak. It is raised here, before
                the first delta is asked for.
        """
        token_ids = _whole_numbers(prompt)
        processor = self._check(token_ids, sampling)
        self._check_media(token_ids, media)
        against = None
        if blind is not None and sampling.guidance:
            against = _whole_numbers(blind[0]), blind[1]
            self._check_tokens(against[0])
            self._check_media(*against)
        if wordless is not None and sampling.leans_on_words:
            self._check_tokens(_whole_numbers(wordless[0]))
            self._check_media(_whole_numbers(wordless[0]), wordless[1])
        else:
            wordless = None
        sides = [against] if against is not None else []
        longest = max(len(side[0]) for side in ((token_ids, media), *sides, *([wordless] if wordless else [])))
        room = self._config.max_positions - longest
        if room < 1:
            raise RequestError(f"a prompt of {longest} tokens to lean away from leaves no room to answer (shorten it)")
        limit = min(sampling.max_tokens or room, room)
        stop_ids = frozenset((*processor.stop_ids, *sampling.stop_token_ids))
        vocabulary = Vocabulary(self._model_config, processor.tokenizer, stop_ids, processor.codecs)
        replies = [
            Reply(
                vocabulary,
                Grammar(vocabulary, making, limit=limit),
                samplers(sampling, vocabulary, prompt=token_ids, index=index, constraint=constraint),
                TextStream(processor.tokenizer, () if making.reply == "image" else sampling.stop, after=token_ids),
                Studio.of(processor.codecs, making),
                sampling,
                stop_ids=stop_ids,
                limit=limit,
                prompt_tokens=len(token_ids),
                index=index,
            )
            for index in range(sampling.n)
        ]
        easel = Easel(self._decoder, processor, sampling) if Easel.serves(processor, sampling) else None
        return self._write(token_ids, media, against, wordless, replies, easel, cancel or threading.Event())

    @property
    def threads(self) -> int:
        """CPU threads it computes with."""
        return self._decoder.threads

    def compile(self) -> bool:
        """Compile the step that writes one reply now, in up to a minute; false when this machine has no compiler."""
        return self._decoder.compile()

    def logits(self, token_ids: Sequence[int], media: Media | None = None) -> NDArray[np.float32]:
        """Scores of what follows each token: (time, vocab_size) float32.

        Raises:
            RequestError: no tokens, unknown ones, more than the model's context, or media that do not fit them.
        """
        ids = _whole_numbers(token_ids)
        self._check_tokens(ids)
        self._check_media(ids, media)
        scores: NDArray[np.float32] = self._decoder.logits(ids, media).numpy()
        return scores

    def embed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """A text as a vector of length 1, (dim,) float32; raises as `logits` does.

        It lies in the space of words, pictures and recordings where the model has one; else it is the mean of the
        last hidden states over time.
        """
        ids = _whole_numbers(token_ids)
        self._check_tokens(ids)
        self._check_media(ids, None)
        if self._model_config.embedder is not None:
            return _unit(self._decoder.text_vector(ids))
        return _unit(self._decoder.hidden_states(ids).mean(0))

    def embed_media(self, media: Media) -> NDArray[np.float32]:
        """One picture or recording as a vector of length 1, (dim,) float32, in the space of `embed`.

        Of several, such as the windows of a long recording, it is the mean.

        Raises:
            RequestError: the model has no such space, or no eyes or ears.
        """
        return _unit(self._decoder.media_vectors(media).mean(0))

    def paint(
        self, prompt: Sequence[int], *, media: Media | None = None, seed: int | None = None, n: int = 1
    ) -> torch.Tensor:
        """Pictures of what a prompt asks for, each in one pass: (n, 3, height, width) float32 within -1..1.

        Args:
            prompt: token ids, up to the opening of the assistant's turn.
            media: the pictures and recordings whose placeholders it holds (row 0).
            seed: of the noise: the same pictures for the same seed; none draws others each time.
            n: how many, which differ by their noise alone.

        Raises:
            RequestError: the model has no painter, an empty or too long prompt, media that do not fit it, a seed or
                number out of range.
        """
        if self._model_config.painter is None:
            raise RequestError("this model cannot paint: it has no painter (config: painter)")
        if not 1 <= n <= MOST_PAINTINGS:
            raise RequestError(f"n = {n} is outside 1..{MOST_PAINTINGS} pictures")
        if seed is not None and not 0 <= seed < 2**63:
            raise RequestError(f"seed = {seed} is outside 0..2**63 - 1")
        token_ids = _whole_numbers(prompt)
        self._check_tokens(token_ids)
        context = self._config.max_positions
        if len(token_ids) > context:
            raise RequestError(f"a prompt of {len(token_ids)} tokens is longer than the model's context of {context}")
        self._check_media(token_ids, media)
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        return self._decoder.paintings(token_ids, media, n=n, generator=generator)

    def _write(
        self,
        token_ids: list[int],
        media: Media | None,
        against: tuple[list[int], Media | None] | None,
        wordless: Prompt | None,
        replies: list[Reply],
        easel: Easel | None,
        cancel: threading.Event,
    ) -> Iterator[Delta]:
        rows = self._decoder.read(token_ids, media, cancel=cancel)
        blind = None if against is None else self._decoder.read(*against, cancel=cancel)
        sides = [side for side in (rows, blind) if side is not None]  # what is decoded in step
        for side in sides:
            if len(replies) > 1:
                side.keep([0] * len(replies))
        while rows is not None and not cancel.is_set():
            for row, reply in enumerate(replies):
                if wordless is not None and reply.guidance and reply.wordless is None:
                    reply.wordless = self._decoder.read([*wordless[0], *reply.wordless_ids], wordless[1], cancel=cancel)
                with torch_threads(self.threads):  # not held while the caller has the delta
                    draft = easel.best(rows, row, reply, cancel) if easel and reply.begins_to_draw else None
                    if draft is not None:
                        reply.settle(draft.codes)
                    if draft is not None and len(replies) == 1 and blind is None:  # nothing else is read in step
                        rows.become(draft.rows)
                        made = reply.take_settled()
                    else:
                        made = list(reply.take(rows.scores[row], None if blind is None else blind.scores[row]))
                yield from made
            going = [row for row, reply in enumerate(replies) if not reply.ended]
            if not going:
                return
            if len(going) < len(replies):
                for side in sides:
                    side.keep(going)
                replies = [replies[row] for row in going]
            if not cancel.is_set():
                for side in sides:
                    self._decoder.step(side, [reply.token_ids[-1] for reply in replies])
                for reply in replies:
                    if reply.wordless is not None:
                        self._decoder.step(reply.wordless, [reply.token_ids[-1]])
        for reply in replies:
            yield from reply.end("cancelled")

    def _check(self, token_ids: list[int], sampling: SamplingConfig) -> Processor:
        if self._processor is None:
            raise RequestError("this model came without a tokenizer and cannot write (use logits)")
        if not self._config.causal:
            raise RequestError("this model reads in both directions and cannot write (use fill_mask or embed)")
        self._check_tokens(token_ids)
        context = self._config.max_positions
        if len(token_ids) >= context:
            raise RequestError(
                f"a prompt of {len(token_ids)} tokens leaves no room to answer in the model's context of {context} "
                f"(shorten it by {len(token_ids) - context + 1} or more)"
            )
        check_token_ids("stop_token_ids", sampling.stop_token_ids, self._config.vocab_size)
        if "" in sampling.stop:
            raise RequestError("stop holds an empty string, which would end every reply at once (leave it out)")
        return self._processor

    def _check_media(self, token_ids: list[int], media: Media | None) -> None:
        """Every placeholder has its picture or recording, and they have theirs."""
        config = self._model_config
        media = media or Media()
        check_media(media, config, rows=1, time=len(token_ids))
        places = {"picture": media.image_places, "recording": media.audio_places}
        for (what, taken), part in zip(places.items(), (config.vision, config.speech), strict=True):
            if part is None or self._processor is None:
                continue
            token = self._processor.tokenizer.control_ids.get(part.placeholder.token)
            wanted = [place for place, found in enumerate(token_ids) if found == token]
            given = [start + index for _, start, length in sorted(taken.tolist()) for index in range(length)]
            if wanted != given:
                raise RequestError(
                    f"the prompt holds {len(wanted)} placeholders for {what}s, and features for {len(given)}"
                    + (", at other positions" if len(wanted) == len(given) else "")
                    + " (each placeholder needs its feature: encode messages with the model's own processor)"
                )

    def _check_tokens(self, token_ids: list[int]) -> None:
        if not token_ids:
            raise RequestError("the prompt is empty: give at least one token")
        check_token_ids("the prompt", token_ids, self._config.vocab_size)


def _unit(vector: torch.Tensor) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (vector / vector.norm().clamp_min(1e-12)).numpy()
    return unit


def _whole_numbers(token_ids: Sequence[int]) -> list[int]:
    try:
        return [operator.index(token) for token in token_ids]
    except TypeError:
        raise RequestError(f"token ids must be whole numbers, not {token_ids!r:.60}") from None
