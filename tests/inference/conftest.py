"""A small random model with a real tokenizer, whose replies wander over English, Chinese and broken characters."""

from __future__ import annotations

from collections.abc import Callable

import making
import pytest
import torch

from sensorium.api import Model
from sensorium.config import ModelConfig, TransformerConfig
from sensorium.inference.engine import Engine
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

TEXT = "The cat sat on the mat. 猫坐在垫子上。 Where is the cat? 🐈 On the mat, of course! 春眠不觉晓,处处闻啼鸟。"
LLAMA = {"dim": 32, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "hidden_dim": 64, "max_positions": 96}


def build_model(vocab_size: int, **settings) -> Omni:
    """A model whose logits vary by about 2 and whose attention is far from uniform."""
    config = ModelConfig(decoder=TransformerConfig(vocab_size=vocab_size, **{**LLAMA, **settings}))
    model = Omni(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                scale = 0.35 if "embeddings" in name else 1.5 * weight.shape[1] ** -0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
            elif name.endswith("bias"):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


@pytest.fixture(scope="module")
def maker() -> Model:
    """One that also sees, hears, draws and speaks."""
    return making.make_model()


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT] * 4, 360)


@pytest.fixture(scope="session")
def processor(tokenizer: Tokenizer) -> Processor:
    return Processor(tokenizer)


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> Omni:
    return build_model(tokenizer.vocab_size)


@pytest.fixture(scope="session")
def engine(model: Omni, processor: Processor) -> Engine:
    return Engine(model, processor, threads=1, compile=False)


@pytest.fixture(scope="session")
def prompt(processor: Processor) -> list[int]:
    return processor.encode_prompt("Where is 猫?").token_ids.tolist()


@pytest.fixture(scope="session")
def make_model(tokenizer: Tokenizer) -> Callable[..., Omni]:
    """Makes a model of another family, by its settings."""
    return lambda **settings: build_model(tokenizer.vocab_size, **settings)
