"""Checkpoints of llama2.c: one binary file of float32 weights, and one of tokens with their scores.

The weight file is seven little-endian int32 (dim, hidden dim, layers, heads, key heads, vocabulary, context; the
vocabulary negative when the output matrix is its own) and the tensors, each kind for all layers at once.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig
from sensorium.errors import CheckpointError
from sensorium.hub.assemble import TIED_HEAD, Piece, blank_model, expected_shapes, fill_model
from sensorium.hub.pretrained import Pretrained
from sensorium.hub.weights import StoredTensor, Weights
from sensorium.processing.processor import Processor

_HEADER = struct.Struct("<7i")
_WEIGHTS = (
    "embeddings.token.weight",
    "blocks.{}.attention_norm.weight",
    "blocks.{}.attention.q.weight",
    "blocks.{}.attention.k.weight",
    "blocks.{}.attention.v.weight",
    "blocks.{}.attention.o.weight",
    "blocks.{}.mlp_norm.weight",
    "blocks.{}.mlp.gate.weight",
    "blocks.{}.mlp.down.weight",
    "blocks.{}.mlp.up.weight",
    "final_norm.weight",
)
_BOS_ID, _EOS_ID = 1, 2
_SPACE = "▁"  # sentencepiece's visible space
_PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def find_llama2c(folder: Path) -> Path:
    """The one llama2.c weight file of a folder without `config.json`. Raises `CheckpointError` when there is none."""
    files = [path for path in sorted(folder.glob("*.bin")) if _read_header(path) is not None]
    if len(files) != 1:
        raise CheckpointError(f"{folder} is no model folder: it has no config.json (nor one llama2.c weight file)")
    return files[0]


def read_llama2c(path: Path, dtype: torch.dtype | None, device: torch.device) -> Pretrained:
    """Load a llama2.c checkpoint, and the token file (`tokenizer.bin`, `tok*.bin`) that lies beside it, if any.

    Raises:
        CheckpointError: the file is truncated or of another kind, or the tokens do not fit it.
    """
    decoder = _read_header(path)
    if decoder is None:
        raise CheckpointError(f"{path} is no model: neither a folder nor a llama2.c weight file")
    size, expected = path.stat().st_size, _file_size(decoder)
    if size != expected:
        raise CheckpointError(f"{path} has {size} bytes where its header asks for {expected} (copy it again)")
    config = ModelConfig(decoder=decoder)
    processor = _read_processor(path, decoder.vocab_size)
    model = blank_model(config)
    weights = _open_tensors(path, decoder)
    pieces = [Piece((ours,), (ours,), reorder=_reorder(ours, decoder)) for ours in weights.tensors]
    fill_model(model, weights, pieces, dtype=dtype, device=device)
    # Training documents begin with 1: a story that is over is followed by the begin of the next.
    sampling = SamplingConfig(stop_token_ids=(_BOS_ID, _EOS_ID)) if processor is not None else SamplingConfig()
    return Pretrained(config, model, processor, sampling, path)


def _read_header(path: Path) -> TransformerConfig | None:
    """The settings in the header, or None when it cannot be one."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if len(header) < _HEADER.size:
        return None
    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, context = _HEADER.unpack(header)
    sizes = (dim, hidden_dim, n_layers, n_heads, n_kv_heads, context, abs(vocab_size))
    if min(sizes) < 1 or max(sizes) > 2**20 or dim % (2 * n_heads) or n_heads % n_kv_heads:
        return None
    try:
        return TransformerConfig(
            vocab_size=abs(vocab_size),
            dim=dim,
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            hidden_dim=hidden_dim,
            max_positions=context,
            norm_eps=1e-5,
            tie_embeddings=vocab_size > 0,
        )
    except ValidationError:  # sizes beyond all reason
        return None


def _file_size(config: TransformerConfig) -> int:
    """Bytes that a file of these settings has, by arithmetic alone: a header may claim anything."""
    inner, kv_inner = config.n_heads * config.head_size, config.kv_heads * config.head_size
    layer = config.dim * (2 + 2 * inner + 2 * kv_inner + 3 * config.hidden_dim)
    tables = (1 if config.tie_embeddings else 2) * config.vocab_size * config.dim
    numbers = tables + config.n_layers * layer + config.dim + config.max_positions * config.head_size
    return _HEADER.size + 4 * numbers


@dataclass(frozen=True, slots=True)
class _Section:
    """A stretch of the file: one of our weights, or (without a name) the tables of sines, which we compute."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


def _layout(config: TransformerConfig) -> Iterator[_Section]:
    """What lies where, in the order of the file."""
    shapes = expected_shapes(blank_model(ModelConfig(decoder=config)))
    names = [
        f"decoder.{name.format(layer)}"
        for name in _WEIGHTS
        for layer in (range(config.n_layers) if "{}" in name else (0,))
    ]
    offset = _HEADER.size
    for name in names:
        yield _Section(name, shapes[name], offset)
        offset += 4 * math.prod(shapes[name])
    yield _Section("", (2, config.max_positions, config.head_size // 2), offset)
    offset += 4 * config.max_positions * config.head_size
    if not config.tie_embeddings:
        yield _Section(TIED_HEAD, shapes[TIED_HEAD], offset)


def _open_tensors(path: Path, config: TransformerConfig) -> Weights:
    mapped = torch.from_file(str(path), shared=False, size=path.stat().st_size // 4, dtype=torch.float32)

    def place(section: _Section) -> Tensor:
        return mapped[section.offset // 4 :][: section.numel].view(section.shape)

    def read(section: _Section) -> Tensor:
        values = np.fromfile(path, dtype="<f4", count=section.numel, offset=section.offset)
        return torch.from_numpy(values).view(section.shape)

    tensors = {
        section.name: StoredTensor(section.shape, torch.float32, partial(place, section), partial(read, section))
        for section in _layout(config)
        if section.name
    }
    return Weights(tensors, path)


def _reorder(name: str, config: TransformerConfig) -> Callable[[Tensor], Tensor] | None:
    """Rows of queries and keys: theirs turn neighbouring channels together, ours those half a head apart."""
    if not name.endswith(("attention.q.weight", "attention.k.weight")):
        return None

    def reorder(weight: Tensor) -> Tensor:
        pairs = weight.view(-1, config.head_size // 2, 2, weight.shape[1])  # (heads, pairs, 2, dim)
        return pairs.transpose(1, 2).reshape(weight.shape)

    return reorder


def _read_processor(path: Path, vocab_size: int) -> Processor | None:
    files = sorted({*path.parent.glob("tok*.bin")} - {path})
    own = [file for file in files if file.name == f"tok{vocab_size}.bin"] or files
    if not own:
        return None
    with TemporaryDirectory() as folder:
        spec = json.dumps(_tokenizer_spec(_read_tokens(own[0], vocab_size)), ensure_ascii=False)
        (Path(folder) / "tokenizer.json").write_text(spec, encoding="utf-8")
        return Processor.load(Path(folder))


def _read_tokens(path: Path, vocab_size: int) -> list[tuple[str, float]]:
    """Pieces and their scores: the longest length, then (float32 score, int32 length, UTF-8 bytes) for each."""
    data, place = path.read_bytes(), 4
    tokens = []
    try:
        while place < len(data):
            score, length = struct.unpack_from("<fi", data, place)
            place += 8
            if not 0 <= length <= len(data) - place:
                raise ValueError
            tokens.append((data[place : place + length].decode(), score))
            place += length
    except (struct.error, ValueError):
        raise CheckpointError(f"{path} is truncated or no llama2.c token file (byte {place})") from None
    if len(tokens) != vocab_size:
        raise CheckpointError(f"{path} has {len(tokens)} tokens, the weights {vocab_size} (take the file that fits)")
    return tokens


def _tokenizer_spec(tokens: list[tuple[str, float]]) -> dict[str, Any]:
    """The same tokenizer as `tokenizer.json`: sentencepiece's BPE, whose best-scored pair of pieces merges first."""
    pieces = ["<unk>", "<s>", "</s>", *(piece.replace(" ", _SPACE) for piece, _ in tokens[3:])]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    by_score = sorted(range(3, len(pieces)), key=lambda index: -tokens[index][1])
    merges = [
        [piece[:cut], piece[cut:]]
        for piece in (pieces[index] for index in by_score)
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    added = [{"id": index, "content": pieces[index], "special": True, **_PLAIN} for index in range(3)]
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": _SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [_BOS_ID], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocabulary,
            "merges": merges,
        },
    }
