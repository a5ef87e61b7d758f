"""The whole model: eyes and ears, what joins them to the words, and the decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sensorium.codecs.image import ImageCodec
from sensorium.codecs.kinds import make_image_codec, make_speech_codec
from sensorium.codecs.speech import SpeechCodec
from sensorium.config import ModelConfig, SpeechConfig, VisionConfig
from sensorium.errors import RequestError
from sensorium.nn.attention import KVCache
from sensorium.nn.code_places import CodePlaces
from sensorium.nn.cross_fusion import CrossFusion
from sensorium.nn.decision_fusion import DecisionFusion
from sensorium.nn.embedder import Embedder
from sensorium.nn.encoders import make_speech_encoder, make_vision_encoder
from sensorium.nn.features import Features, check_media, joined, placed
from sensorium.nn.fusion import Fusion, JointFusion, States
from sensorium.nn.grounding import Grounding
from sensorium.nn.init import draw_weights
from sensorium.nn.linear import apply_linear
from sensorium.nn.media import Media
from sensorium.nn.painter import Painter
from sensorium.nn.positions import RotaryPositions, SinusoidalPositions
from sensorium.nn.projectors import make_projector
from sensorium.nn.transformer import Transformer

CTC_CLASSES = 257  # blank, and a class per byte


class Eyes(nn.Module):
    """An encoder of pictures, a projector to the decoder's width where it is shown them, and a head for `grounding`."""

    def __init__(self, config: VisionConfig, dim: int) -> None:
        super().__init__()
        encoder = config.encoder
        self.encoder = make_vision_encoder(encoder)
        self.projector = (
            make_projector(config.projector, encoder.dim, dim, grid=encoder.grid, max_places=config.n_places)
            if config.projector is not None
            else None
        )
        self.grounding = Grounding(encoder.dim, dim, encoder.grid) if config.grounding else None

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        for part in (self.encoder, self.projector, self.grounding):
            if part is not None:
                part.reset_parameters(generator)


class Ears(nn.Module):
    """An encoder of speech, a projector as in `Eyes`, and for CTC a map that spells what is heard."""

    def __init__(self, config: SpeechConfig, dim: int) -> None:
        super().__init__()
        encoder = config.encoder
        self.encoder = make_speech_encoder(encoder)
        longest = config.n_places(encoder.max_frames)
        self.projector = (
            make_projector(config.projector, encoder.dim, dim, grid=None, max_places=longest)
            if config.projector is not None
            else None
        )
        self.ctc = nn.Linear(encoder.dim, CTC_CLASSES) if config.ctc else None

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        for part in (self.encoder, self.projector):
            if part is not None:
                part.reset_parameters(generator)
        if self.ctc is not None:
            draw_weights(self.ctc, generator)


def make_fusion(config: ModelConfig) -> Fusion:
    """The strategy that the settings name.

    Raises:
        ConfigError: the settings ask for no cross-attention at all.
    """
    if config.fusion.strategy == "cross":
        return CrossFusion(config)
    return DecisionFusion(config) if config.fusion.strategy == "decision" else JointFusion()


class Omni(nn.Module):
    """Every trainable part of a model under one roof; its state dict is what a model folder stores."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Transformer(config.decoder)
        self.vision = Eyes(config.vision, config.decoder.dim) if config.vision is not None else None
        self.speech = Ears(config.speech, config.decoder.dim) if config.speech is not None else None
        self.embedder = Embedder(config) if config.embedder is not None else None
        self.fusion = make_fusion(config)
        self.image_codec = make_image_codec(config.image_codec) if config.image_codec is not None else None
        if config.image_codec is not None and config.image_codec.embed_places:
            self.decoder.embeddings.code_places = CodePlaces(config.image_codec, config.decoder.dim)
        self.speech_codec = make_speech_codec(config.speech_codec) if config.speech_codec is not None else None
        self.painter = Painter(config.painter, config.decoder.dim) if config.painter is not None else None
        self.adversary: nn.Module | None = None  # what opposes a codec while it learns; no model folder holds it

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.embeddings.token.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.decoder.embeddings.token.weight.dtype

    def reset_buffers(self, device: torch.device) -> None:
        """Compute every buffer that no file stores, such as rotary frequencies, after the model was built on `meta`."""
        for module in self.modules():
            if isinstance(module, RotaryPositions | SinusoidalPositions):
                module.reset_buffers(device)

    def reset_parameters(self, seed: int) -> None:
        """Draw fresh weights, the same for the same seed whatever was drawn before; a decoder's whatever joins it."""
        generator = torch.Generator().manual_seed(seed)
        for part in self._parts():
            part.reset_parameters(generator)
        self._draw_codes(generator)

    @torch.no_grad()
    def _draw_codes(self, generator: torch.Generator) -> None:
        """Give the codes of our codecs embeddings that are alike where the codes are."""
        for codec in (self.image_codec, self.speech_codec):
            if isinstance(codec, ImageCodec | SpeechCodec):
                table = self.decoder.embeddings.token.weight
                words = table[: codec.config.first_id] if codec.config.first_id > 1 else table
                drawn = codec.quantiser.embedding(table.shape[1], generator)
                table[codec.config.ids.start : codec.config.ids.stop] = drawn * words.std()

    def _parts(self) -> list[Any]:
        """Those that the model has, in the order in which their weights are drawn."""
        parts = (self.decoder, self.vision, self.speech, self.embedder, self.fusion)
        return [part for part in (*parts, self.image_codec, self.speech_codec, self.painter) if part is not None]

    def see(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, height, width) → vectors that a decoder is shown, (n, places, dim).

        Raises:
            RequestError: the model has no eyes, or pictures of another size.
        """
        if self.vision is None or self.vision.projector is None:
            raise RequestError("this model cannot see: it has no eyes that show pictures to its decoder")
        vectors: Tensor
        vectors, _ = self.vision.projector(self.vision.encoder(images.to(self.device, self.dtype)))
        return vectors

    def hear(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel (n, mels, frames) of so many real `frames` (n,) → vectors (n, places, dim), real places (n,).

        Raises:
            RequestError: the model has no ears, or recordings of another form.
        """
        if self.speech is None or self.speech.projector is None:
            raise RequestError("this model cannot hear: it has no ears that show recordings to its decoder")
        audio, frames = audio.to(self.device, self.dtype), frames.to(self.device)
        vectors: tuple[Tensor, Tensor] = self.speech.projector(*self.speech.encoder(audio, frames))
        return vectors

    def spell(self, audio: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel (n, mels, frames) → CTC scores (n, time, 257) of bytes, blank first, and real places (n,).

        Raises:
            RequestError: the model's ears do not spell.
        """
        if self.speech is None or self.speech.ctc is None:
            raise RequestError("this model does not spell what it hears (config: speech.ctc)")
        features, lengths = self.speech.encoder(audio.to(self.device, self.dtype), frames.to(self.device))
        return apply_linear(self.speech.ctc, features), lengths

    def ground(self, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """What stands where in pictures: which of some words, and in which box. For `grounding` stages to learn by.

        Args:
            images: (n, 3, height, width).
            words: (w,) ids of the tokens to choose from.

        Returns:
            Scores (n, places, 1 + w), those of nothing first, places row by row; boxes (n, places, 4), x0, y0, x1 and
            y1 in 0..1 of the picture's width and height; both float32.

        Raises:
            RequestError: the model's eyes do not ground words, or pictures of another size.
        """
        if self.vision is None or self.vision.grounding is None:
            raise RequestError("this model does not tell what stands where in a picture (config: vision.grounding)")
        features = self.vision.encoder(images.to(self.device, self.dtype))
        told: tuple[Tensor, Tensor] = self.vision.grounding(features, self.decoder.embeddings.token.weight[words])
        return told

    def perceive(self, media: Media | None, *, rows: int, time: int) -> Features | None:
        """Run the encoders over what a batch of `rows` sequences of `time` tokens shows and says; None for nothing.

        Raises:
            RequestError: a position without its feature, a feature without its position, or a kind that the model
                does not take.
        """
        if media is None or not (media or len(media.image_places) or len(media.audio_places)):
            return None
        check_media(media, self.config, rows=rows, time=time)
        found = []
        if media.images is not None and len(media.images):
            seen = self.see(media.images)  # (n, places, dim)
            counts = [seen.shape[1]] * len(seen)
            found.append(placed(seen, counts, media.image_places, heard=False))
        if media.audio is not None and len(media.audio):
            heard, _ = self.hear(media.audio, media.audio_frames)
            assert self.config.speech is not None
            counts = [self.config.speech.n_places(frames) for frames in media.audio_frames.tolist()]
            found.append(placed(heard, counts, media.audio_places, heard=True))
        return joined(found) if found else None

    def hidden_states(
        self,
        input_ids: Tensor,
        media: Media | Features | None = None,
        *,
        positions: Tensor | None = None,
        document_ids: Tensor | None = None,
        padding: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> States:
        """What the model makes of a batch, as `logits_of` reads it.

        Args:
            input_ids: (batch, time) token ids, with placeholders where pictures and recordings stand.
            media: those, or the features that `perceive` made of them.
            positions: (batch, time); counts from 0 by default. Packed documents each start at 0 again.
            document_ids: (batch, time); documents see neither each other nor each other's media.
            padding: (batch, time) boolean, true where a token is real.
            cache: keys and values of earlier tokens, from `new_cache`.

        Returns:
            (batch, time, dim) after the final norm; in decision fusion those of each branch.

        Raises:
            RequestError: more tokens than the context, as `perceive`, or features that the cache could not remember.
        """
        rows, time = input_ids.shape
        features = media if isinstance(media, Features) else self.perceive(media, rows=rows, time=time)
        return self.fusion.hidden_states(
            self.decoder,
            input_ids,
            features,
            positions=positions,
            document_ids=document_ids,
            padding=padding,
            cache=cache,
        )

    def fused(self, input_ids: Tensor, lengths: Tensor, media: Media | None = None) -> Tensor:
        """What prompts say and show, each as one vector: the state at its last token, which has read all of it.

        Args:
            input_ids: (rows, time) token ids, filled up behind shorter prompts.
            lengths: (rows,) tokens of each prompt.
            media: the pictures and recordings among them.

        Returns:
            (rows, dim) after the final norm; in decision fusion the branches' mean, as their predictions count.

        Raises:
            RequestError: as `hidden_states`.
        """
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        states = self.hidden_states(input_ids, media, padding=places < lengths[:, None])
        if not isinstance(states, Tensor):
            states = (states.states * states.log_weights.exp()[..., None].to(states.states.dtype)).sum(0)
        return states[torch.arange(len(lengths), device=states.device), lengths - 1]

    def new_cache(self, batch: int, capacity: int, features: Features | None = None) -> KVCache:
        """An empty cache for `batch` sequences of up to `capacity` tokens, whose prompts hold these features."""
        return self.fusion.new_cache(
            self.config.decoder, features, batch, capacity, dtype=self.dtype, device=self.device
        )

    def logits_of(self, states: States) -> Tensor:
        """Scores over the vocabulary of what `hidden_states` gave: (batch, time, vocab_size)."""
        return self.fusion.scores(self.decoder, states)

    def logits(self, input_ids: Tensor, media: Media | None = None) -> Tensor:
        """(batch, time) token ids and what stands among them → (batch, time, vocab_size) scores."""
        return self.logits_of(self.hidden_states(input_ids, media))

    def loss(
        self,
        input_ids: Tensor,
        targets: Tensor,
        media: Media | None = None,
        *,
        positions: Tensor | None = None,
        document_ids: Tensor | None = None,
    ) -> Tensor:
        """Summed cross-entropy (nats) over the positions whose target is not negative; see `Transformer.loss`."""
        states = self.hidden_states(input_ids, media, positions=positions, document_ids=document_ids)
        return self.fusion.loss(self.decoder, states, targets)

    def flops(self, rows: int, time: int, *, learned: int, media: Media) -> float:
        """Floating-point operations of a forward and backward pass over a batch, those of the encoders left out.

        Args:
            rows: sequences of the batch.
            time: tokens of a sequence.
            learned: tokens to be predicted, which alone pay for the output matrix.
            media: what stands among them.
        """
        vision, speech = self.config.vision, self.config.speech
        seen = 0 if vision is None else vision.n_places * len(media.image_places)
        heard = 0 if speech is None else sum(speech.n_places(frames) for frames in media.audio_frames.tolist())
        return self.fusion.flops(self.decoder, rows, time, learned=learned, seen=seen, heard=heard)

    def n_parameters(self) -> dict[str, int]:
        """Number of weights of each part that the model has, shared ones counted once."""
        parts = {name: sum(weight.numel() for weight in part.parameters()) for name, part in self.named_children()}
        return {name: number for name, number in parts.items() if number}

    def embed_text(self, input_ids: Tensor, padding: Tensor | None = None) -> Tensor:
        """Texts (n, time), `padding` true where a token is real → unit vectors (n, dim).

        Raises:
            RequestError: the model has no embedder.
        """
        embedder = self._embedder()
        return embedder.of_text(self.decoder(input_ids, padding=padding), input_ids, padding)

    def embed_images(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, height, width) → unit vectors (n, dim). Raises `RequestError` without embedder or eyes."""
        embedder = self._embedder()
        if self.vision is None:
            raise RequestError("this model cannot see: it has no eyes")
        return embedder.of_images(self.vision.encoder.pooled(images.to(self.device, self.dtype)))

    def embed_audio(self, audio: Tensor, frames: Tensor) -> Tensor:
        """Log-mel (n, mels, frames) → unit vectors (n, dim). Raises `RequestError` without embedder or ears."""
        embedder = self._embedder()
        if self.speech is None:
            raise RequestError("this model cannot hear: it has no ears")
        pooled = self.speech.encoder.pooled(audio.to(self.device, self.dtype), frames.to(self.device))
        return embedder.of_audio(pooled)

    def _embedder(self) -> Embedder:
        if self.embedder is None:
            raise RequestError("this model has no common space of words, pictures and recordings (config: embedder)")
        return self.embedder
