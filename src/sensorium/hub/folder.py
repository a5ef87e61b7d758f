"""Models as folders: ours written and read, and every other form read behind the same door.

Ours holds `config.json`, `model.safetensors`, `generation_config.json`, `MODEL_CARD.md` and the processor's files
(`tokenizer.json`, `chat_template.jinja`); never a pickle.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sensorium.config import Config, ModelConfig, SamplingConfig, read_json
from sensorium.errors import ConfigError
from sensorium.hub.assemble import TIED_HEAD, Piece, blank_model, expected_shapes, fill_model
from sensorium.hub.atomic import staged_folder
from sensorium.hub.dual import DUAL_FAMILIES, read_dual
from sensorium.hub.exporting import write_huggingface
from sensorium.hub.importing import load_processor, read_huggingface
from sensorium.hub.llama2c import find_llama2c, read_llama2c
from sensorium.hub.multimodal import MULTIMODAL_FAMILIES, read_multimodal
from sensorium.hub.pretrained import Pretrained, check_vocabulary, coding
from sensorium.hub.resolve import resolve_model
from sensorium.hub.weights import STORABLE, WEIGHTS_FILE, open_weights, write_weights

__all__ = ["Pretrained", "export_hf", "import_pretrained", "load_pretrained", "save_pretrained"]

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
        (stage / CARD_FILE).write_text(card or _card(pretrained), encoding="utf-8")


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
    place = _device(device)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ConfigError(f"dtype must be a torch dtype such as torch.float32, not {dtype!r}")
    path = resolve_model(name_or_path)
    pretrained = _read(path, dtype, place)
    # A hub id keeps its own name: the folder of its cache is called by a hash.
    return replace(pretrained, name=Path(name_or_path).stem if path.is_file() else _name(name_or_path, path))


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ConfigError(f"unknown device {name!r} (one of: cpu, cuda, cuda:1, …)") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} cannot hold a model here (use cpu or cuda)")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r}: PyTorch sees {torch.cuda.device_count() or 'no'} GPU here (use cpu)")
    return device


def import_pretrained(source: str | Path, folder: str | Path, *, card: str | None = None) -> Pretrained:
    """Write a model of any readable form as a folder of ours, its weights stored as they were.

    Args:
        source: what `load_pretrained` takes.
        folder: where to write.
        card: text of the model card; by default one that names the source.

    Returns:
        The model as loaded from `source`.

    Raises:
        CheckpointError, ConfigError: as `load_pretrained` and `save_pretrained`; nothing is half-written.
    """
    pretrained = load_pretrained(source)
    dtype = pretrained.stored_dtype if pretrained.stored_dtype in STORABLE else torch.float32
    save_pretrained(pretrained, folder, dtype=dtype, card=card or _card(pretrained, f"Imported from `{source}`."))
    return pretrained


def export_hf(pretrained: Pretrained, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a folder that transformers loads: `AutoModelForCausalLM` (BERT: `AutoModelForMaskedLM`), `AutoTokenizer`.

    Args:
        pretrained: what to write.
        folder: where; a former export in its place is replaced in one step.
        dtype: what the weights are stored as.

    Raises:
        ConfigError: no published family can express the model; the error names the setting in the way.
        CheckpointError: as `save_pretrained`.
    """
    with staged_folder(Path(folder), FOLDER_FILES) as stage:
        write_huggingface(pretrained, stage, dtype)


def _name(name_or_path: str | Path, path: Path) -> str:
    return path.resolve().name if Path(name_or_path).exists() else Path(name_or_path).name


def _read(path: Path, dtype: torch.dtype | None, device: torch.device) -> Pretrained:
    """Tell the forms apart by what they hold."""
    if path.is_file():
        return read_llama2c(path, dtype, device)
    if not (path / CONFIG_FILE).is_file():
        return read_llama2c(find_llama2c(path), dtype, device)
    raw = read_json(path / CONFIG_FILE)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path / CONFIG_FILE} must hold an object of settings")
    if "format" in raw:
        return _read_own(path, ModelConfig.parse(raw, str(path / CONFIG_FILE)), dtype, device)
    if raw.get("model_type") in DUAL_FAMILIES:
        return read_dual(path, raw, dtype, device)
    if raw.get("model_type") in MULTIMODAL_FAMILIES:
        return read_multimodal(path, raw, dtype, device)
    return read_huggingface(path, raw, dtype, device)


def _read_own(folder: Path, config: ModelConfig, dtype: torch.dtype | None, device: torch.device) -> Pretrained:
    sampling_file = folder / SAMPLING_FILE
    sampling = SamplingConfig.read(sampling_file) if sampling_file.is_file() else SamplingConfig()
    processor = load_processor(folder, config)
    check_vocabulary(processor, config, folder)
    weights = open_weights(folder)
    model = blank_model(config)
    pieces = [Piece((ours,), (ours,)) for ours in expected_shapes(model)]
    fill_model(model, weights, pieces, dtype=dtype, device=device)
    if processor is not None and config.codecs():
        processor = coding(processor, model)
    stored = weights.tensors["decoder.embeddings.token.weight"].dtype
    assert stored is not None
    return Pretrained(config, model, processor, sampling, folder, stored_dtype=stored)


def _write_config(path: Path, config: Config) -> None:
    text = json.dumps(_plain(config), indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(config: Config) -> dict[str, Any]:
    """Settings as JSON holds them, without what is left out anyway: None where None is the default."""
    plain = config.model_dump(mode="json", exclude_none=True)
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            plain[name] = _plain(value)
        elif value is None and field.default is not None:
            plain[name] = None
    return plain


def _card(pretrained: Pretrained, origin: str = "") -> str:
    decoder, parts = pretrained.model.decoder, pretrained.model.n_parameters()
    joined = f" ({', '.join(f'{name} {number:,}' for name, number in parts.items())})" if len(parts) > 1 else ""
    return (
        f"# {pretrained.name}\n\n"
        f"A Sensorium model of {sum(parts.values()):,} parameters{joined}, {decoder.config.n_layers} layers of width "
        f"{decoder.config.dim}, a context of {decoder.config.max_positions:,} tokens and a vocabulary of "
        f"{decoder.config.vocab_size:,}.\n" + (f"\n{origin}\n" if origin else "")
    )
