"""Models as folders: ours written and read, and every other form read behind the same door.

Ours holds `config.json`, `model.safetensors`, `generation_config.json`, `MODEL_CARD.md` and the processor's files
(`tokenizer.json`, `chat_template.jinja`); never a pickle.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from sensorium.config import Config, ModelConfig, SamplingConfig
from sensorium.hub.assemble import TIED_HEAD, Piece, blank_model, expected_shapes, fill_model
from sensorium.hub.atomic import staged_folder
from sensorium.hub.pretrained import Pretrained, check_vocabulary
from sensorium.hub.resolve import resolve_model
from sensorium.hub.weights import WEIGHTS_FILE, open_weights, write_weights
from sensorium.processing.processor import Processor

CONFIG_FILE = "config.json"
SAMPLING_FILE = "generation_config.json"
CARD_FILE = "MODEL_CARD.md"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
FOLDER_FILES = frozenset({CONFIG_FILE, WEIGHTS_FILE, SAMPLING_FILE, CARD_FILE, *TOKENIZER_FILES})


def save_pretrained(
    pretrained: Pretrained, folder: str | Path, *, dtype: torch.dtype = torch.float32, card: str | None = None
) -> None:
    """Write a model folder, whole or not at all.

    Args:
        pretrained: what to write.
        folder: where; a former model folder in its place is replaced in one step.
        dtype: what the weights are stored as. Half precision halves the file; a CPU computes in float32 anyway.
        card: text of the model card (Markdown); a short one by default.

    Raises:
        CheckpointError: the folder holds other files, the disk refuses, or a weight overflows `dtype`.
    """
    folder = Path(folder)
    weights = pretrained.model.state_dict()
    if pretrained.config.decoder.tie_embeddings:
        del weights[TIED_HEAD]
    with staged_folder(folder, FOLDER_FILES) as stage:
        write_weights(stage / WEIGHTS_FILE, weights, dtype)
        _write_config(stage / CONFIG_FILE, pretrained.config)
        _write_config(stage / SAMPLING_FILE, pretrained.sampling)
        if pretrained.processor is not None:
            pretrained.processor.save(stage)
        (stage / CARD_FILE).write_text(card or _default_card(pretrained), encoding="utf-8")


def load_pretrained(
    name_or_path: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> Pretrained:
    """Load a model by shipped name, path or hub id: our folders, Hugging Face's, and llama2.c's `.bin` files.

    Weights are mapped, not read: loading is instant, and memory fills as the weights are used.

    Args:
        name_or_path: such as `"seedling"`, `"./my-model"`, `"Qwen/Qwen3-0.6B"` or `"stories260K.bin"`.
        dtype: what to compute in; by default float32 on a CPU, elsewhere what is stored.
        device: where to put the weights.

    Raises:
        CheckpointError, ConfigError: the model is unknown, broken, or of a kind we cannot express; one line says which.
    """
    path = resolve_model(name_or_path)
    return _load_own(path, name=path.resolve().name, dtype=dtype, device=torch.device(device))


def _load_own(folder: Path, *, name: str, dtype: torch.dtype | None, device: torch.device) -> Pretrained:
    config = ModelConfig.read(folder / CONFIG_FILE)
    sampling_file = folder / SAMPLING_FILE
    sampling = SamplingConfig.read(sampling_file) if sampling_file.is_file() else SamplingConfig()
    processor = Processor.load(folder) if (folder / "tokenizer.json").is_file() else None
    check_vocabulary(processor, config, folder)
    weights = open_weights(folder)
    model = blank_model(config)
    pieces = [Piece((ours,), (ours,)) for ours in expected_shapes(model)]
    fill_model(model, weights, pieces, dtype=dtype, device=device)
    stored = weights.tensors["decoder.embeddings.token.weight"].dtype
    assert stored is not None
    return Pretrained(config, model, processor, sampling, folder, name, stored)


def _write_config(path: Path, config: Config) -> None:
    text = json.dumps(config.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _default_card(pretrained: Pretrained) -> str:
    decoder = pretrained.model.decoder
    return (
        f"# {pretrained.name}\n\n"
        f"A Sensorium model of {decoder.n_parameters():,} parameters, {decoder.config.n_layers} layers of width "
        f"{decoder.config.dim}, a context of {decoder.config.max_positions:,} tokens and a vocabulary of "
        f"{decoder.config.vocab_size:,}.\n"
    )
