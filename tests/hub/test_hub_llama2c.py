"""llama2.c's files: the real stories260K, and small ones made here for what it does not show."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from sensorium.data.sources import source
from sensorium.errors import CheckpointError
from sensorium.hub.folder import Pretrained, import_pretrained, load_pretrained

Build = Callable[..., transformers.PreTrainedModel]
Error = Callable[[Tensor, Tensor], float]
STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball."
)


@pytest.fixture(scope="module")
def stories260k(request: pytest.FixtureRequest) -> Pretrained:
    request.getfixturevalue("shared_data")
    return load_pretrained(source("checkpoints").fetch() / "stories260K")


def continue_greedily(pretrained: Pretrained, text: str, n_tokens: int) -> str:
    assert pretrained.processor is not None
    ids = pretrained.processor.encode_prompt(text).token_ids.tolist()
    with torch.no_grad():
        for _ in range(n_tokens):
            ids.append(int(pretrained.model.logits(torch.tensor([ids]))[0, -1].argmax()))
    return pretrained.processor.tokenizer.decode(ids)


def test_stories260k_tells_its_story(stories260k: Pretrained) -> None:
    assert continue_greedily(stories260k, "", 52).startswith(STORY)


def test_stories260k_goes_on_from_a_beginning(stories260k: Pretrained) -> None:
    begun = "One day, Lily went to"
    told = continue_greedily(stories260k, begun, 40)
    assert told.startswith(begun + " the ")
    assert told.count(".") >= 2


def test_its_tokenizer_returns_what_it_was_given(stories260k: Pretrained) -> None:
    assert stories260k.processor is not None
    tokenizer = stories260k.processor.tokenizer
    assert tokenizer.vocab_size == 512
    assert tokenizer.encode("Once upon a time") == [403, 407, 261, 378]
    for text in ("The cat sat.", "two  spaces", "ünïcode 你好 🎈", "line\nbreak"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_import_gives_a_folder_that_tells_the_same_story(
    stories260k: Pretrained, tmp_path: Path, input_ids: Tensor
) -> None:
    assert stories260k.path is not None
    import_pretrained(stories260k.path, tmp_path / "ours")
    ours = load_pretrained(tmp_path / "ours")
    assert torch.equal(ours.model.logits(input_ids), stories260k.model.logits(input_ids))
    assert continue_greedily(ours, "", 52).startswith(STORY)


def write_llama2c(path: Path, model: transformers.PreTrainedModel, *, shared: bool) -> None:
    """A Llama of transformers as llama2.c stores it: neighbouring channels turn together."""
    config, tensors = model.config, model.state_dict()
    vocab = config.vocab_size if shared else -config.vocab_size
    header = (config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads)

    def interleaved(weight: Tensor, heads: int) -> Tensor:
        return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)

    def each(name: str, heads: int | None = None) -> list[Tensor]:
        found = [tensors[f"model.layers.{layer}.{name}.weight"] for layer in range(config.num_hidden_layers)]
        return found if heads is None else [interleaved(weight, heads) for weight in found]

    parts = [
        tensors["model.embed_tokens.weight"],
        *each("input_layernorm"),
        *each("self_attn.q_proj", config.num_attention_heads),
        *each("self_attn.k_proj", config.num_key_value_heads),
        *each("self_attn.v_proj"),
        *each("self_attn.o_proj"),
        *each("post_attention_layernorm"),
        *each("mlp.gate_proj"),
        *each("mlp.down_proj"),
        *each("mlp.up_proj"),
        tensors["model.norm.weight"],
        torch.zeros(config.max_position_embeddings * config.head_dim),  # the tables of sines, unused
    ]
    parts += [] if shared else [tensors["lm_head.weight"]]
    body = b"".join(np.ascontiguousarray(part.numpy(), dtype="<f4").tobytes() for part in parts)
    sizes = (*header, config.num_key_value_heads, vocab, config.max_position_embeddings)
    path.write_bytes(struct.pack("<7i", *sizes) + body)


@pytest.mark.parametrize("shared", [True, False])
def test_logits_equal_the_same_llama_in_transformers(
    shared: bool, tmp_path: Path, build: Build, input_ids: Tensor, error: Error
) -> None:
    reference = build("llama", tie_word_embeddings=shared, rms_norm_eps=1e-5)
    write_llama2c(tmp_path / "model.bin", reference, shared=shared)
    pretrained = load_pretrained(tmp_path / "model.bin")
    assert (pretrained.name, pretrained.processor) == ("model", None)
    with torch.no_grad():
        assert error(pretrained.model.logits(input_ids), reference(input_ids).logits) < 1e-4


def test_broken_files_are_one_line(tmp_path: Path, build: Build) -> None:
    path = tmp_path / "model.bin"
    write_llama2c(path, build("llama"), shared=False)
    whole = path.read_bytes()
    for content, words in (
        (whole[:-4], f"has {len(whole) - 4} bytes where its header asks for {len(whole)}"),
        (whole[:20], "neither a folder nor a llama2.c weight file"),
        (struct.pack("<7i", 2**20, 2**20, 2**12, 1, 1, 2**20, 2**20), "has 28 bytes where its header asks for"),
        (struct.pack("<7i", 2**20, 2**20, 2**20, 1, 1, 2**20, 2**20), "neither a folder nor a llama2.c weight file"),
        (b"\x00" * 64, "neither a folder nor a llama2.c weight file"),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=words):
            load_pretrained(path)


def test_tokens_that_do_not_fit_are_one_line(tmp_path: Path, build: Build) -> None:
    write_llama2c(tmp_path / "model.bin", build("llama"), shared=False)
    few = struct.pack("<i", 3) + b"".join(struct.pack("<fi", 0.0, 1) + bytes([65 + n]) for n in range(5))
    (tmp_path / "tokenizer.bin").write_bytes(few)
    with pytest.raises(CheckpointError, match="has 5 tokens, the weights 61"):
        load_pretrained(tmp_path / "model.bin")
    (tmp_path / "tokenizer.bin").write_bytes(few[:-1])
    with pytest.raises(CheckpointError, match=r"truncated or no llama2\.c token file"):
        load_pretrained(tmp_path / "model.bin")
