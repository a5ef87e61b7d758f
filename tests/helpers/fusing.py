"""Small models of each fusion, and packed batches of what they read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sensorium.config import (
    AudioConfig,
    ConvSpeechConfig,
    EmbedderConfig,
    FramesConfig,
    FusionConfig,
    ImageConfig,
    ModelConfig,
    PatchesConfig,
    SpeechConfig,
    TransformerConfig,
    VisionConfig,
    ViTConfig,
)
from sensorium.nn.media import Media
from sensorium.nn.omni import Omni

VOCABULARY = 61
GPT2 = {
    "positions": "learned",
    "norm": "layer",
    "activation": "gelu_tanh",
    "gated_mlp": False,
    "qkv_bias": True,
    "attention_output_bias": True,
    "mlp_bias": True,
}
DECODERS: dict[str, dict[str, Any]] = {
    "rope": {"n_kv_heads": 2, "qk_norm": True, "embedding_scale": 4.0},
    "gpt2": GPT2,
    "window": {"sliding_window": 6, "tie_embeddings": False},
}
FUSIONS: dict[str, dict[str, Any]] = {
    "early": {"strategy": "early"},
    "feature": {"strategy": "feature"},
    "cross": {"strategy": "cross", "every": 2},
    "decision": {"strategy": "decision"},
    "vote": {"strategy": "decision", "combine": "vote"},
}


def make_config(fusion: str = "feature", decoder: str = "rope", **settings: Any) -> ModelConfig:
    """Settings of a small model with eyes and ears."""
    raw = fusion == "early"
    blocks = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    base = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 4, "n_heads": 4, "hidden_dim": 48, "max_positions": 64}
    return ModelConfig(
        decoder=TransformerConfig(**{**base, **DECODERS[decoder], **settings}),
        vision=VisionConfig(
            image=ImageConfig(size=(16, 16)),
            encoder=PatchesConfig(image_size=16, patch_size=8)
            if raw
            else ViTConfig(image_size=16, patch_size=8, **blocks),
        ),
        speech=SpeechConfig(
            audio=AudioConfig(n_mels=8, window_seconds=0.4),
            encoder=FramesConfig(n_mels=8, stack=8, max_frames=40)
            if raw
            else ConvSpeechConfig(n_mels=8, max_frames=40, strides=(2, 4), **blocks),
            ctc=not raw,
        ),
        fusion=FusionConfig(**FUSIONS[fusion]),
        embedder=EmbedderConfig(dim=8),
    )


def randomised(model: Omni, seed: int = 3) -> Omni:
    """The model in eval mode, every weight of it random and large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.normal_(centre, 0.9 if "gate" in name else 0.3, generator=generator)
    return model.eval()


def build(fusion: str = "feature", decoder: str = "rope", **settings: Any) -> Omni:
    """A small random model."""
    return randomised(Omni(make_config(fusion, decoder, **settings)))


Document = tuple[Tensor, Tensor, Media]
"""Token ids (1, time), targets (1, time), and what stands among them."""


def document(config: ModelConfig, plan: str, seed: int) -> Document:
    """A sequence by plan: `w` is three words, `i` a picture, `a` a recording of some length."""
    generator = torch.Generator().manual_seed(seed)
    image_places, audio_places, images, audio, time = [], [], [], [], 0
    for index, kind in enumerate(plan):
        if kind == "i":
            images.append(torch.randn(3, 16, 16, generator=generator))
            image_places.append([0, time, config.image_places()])
            time += config.image_places()
        elif kind == "a":
            frames = 17 + 5 * ((seed + index) % 4)
            audio.append(torch.randn(8, frames, generator=generator))
            audio_places.append([0, time, config.audio_places(frames)])
            time += config.audio_places(frames)
        else:
            time += 3
    ids = torch.randint(0, VOCABULARY, (1, time), generator=generator)
    targets = torch.randint(0, VOCABULARY, (1, time), generator=generator)
    targets[0, ::3] = -100
    return ids, targets, media(images, image_places, audio, audio_places)


def media(
    images: list[Tensor], image_places: list[list[int]], audio: list[Tensor], audio_places: list[list[int]]
) -> Media:
    """Pictures and recordings of different length as one `Media`."""
    longest = max((each.shape[1] for each in audio), default=0)
    filled = [torch.nn.functional.pad(each, (0, longest - each.shape[1]), value=-1.0) for each in audio]
    return Media(
        torch.stack(images) if images else None,
        torch.tensor(image_places, dtype=torch.int64).reshape(-1, 3),
        torch.stack(filled) if audio else None,
        torch.tensor([each.shape[1] for each in audio], dtype=torch.int64),
        torch.tensor(audio_places, dtype=torch.int64).reshape(-1, 3),
    )


def packed(rows: list[list[Document]], time: int) -> dict[str, Any]:
    """Documents side by side in rows of so much time; what is left over is padding."""
    batch: dict[str, Any] = {
        "input_ids": torch.full((len(rows), time), 7),
        "targets": torch.full((len(rows), time), -100),
        "positions": torch.zeros(len(rows), time, dtype=torch.int64),
        "document_ids": torch.full((len(rows), time), -1),
    }
    images, image_places, audio, audio_places = [], [], [], []
    for row, documents in enumerate(rows):
        begin = 0
        for index, (ids, targets, shown) in enumerate(documents):
            end = begin + ids.shape[1]
            batch["input_ids"][row, begin:end], batch["targets"][row, begin:end] = ids[0], targets[0]
            batch["positions"][row, begin:end] = torch.arange(end - begin)
            batch["document_ids"][row, begin:end] = index
            for places, into in ((shown.image_places, image_places), (shown.audio_places, audio_places)):
                into += [[row, begin + start, length] for _, start, length in places.tolist()]
            images += [] if shown.images is None else list(shown.images)
            if shown.audio is not None:
                heard = zip(shown.audio, shown.audio_frames.tolist(), strict=True)
                audio += [each[:, :frames] for each, frames in heard]
            begin = end
    return batch | {"media": media(images, image_places, audio, audio_places)}
