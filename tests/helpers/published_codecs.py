"""Tiny codecs of transformers, every tensor of them at random, and files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

MIMI: dict[str, Any] = {
    "sampling_rate": 8000,
    "hidden_size": 32,
    "num_filters": 4,
    "upsampling_ratios": [4, 2],
    "codebook_size": 16,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
    "num_quantizers": 5,
    "upsample_groups": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "sliding_window": 6,
}
JANUS_VQ: dict[str, Any] = {
    "embed_dim": 4,
    "num_embeddings": 40,
    "latent_channels": 12,
    "base_channels": 64,
    "channel_multiplier": [1, 2, 1],
    "num_res_blocks": 1,
    "num_patches": 4,
}
FRAME = 16  # samples that a frame of that Mimi stands for


def _randomise(model: Any) -> Any:
    """Every weight and buffer at random: norms around 1, matrices by fan-in; what is decoded stays within -1..1."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=generator)
            if not tensor.is_floating_point():
                continue
            if name.endswith("cluster_usage"):
                tensor.copy_((0.7 * noise).exp())
            elif name.endswith("initialized"):
                tensor.fill_(1)
            elif name.endswith(("embed_sum", "embedding.weight", ".scale")):
                tensor.copy_(noise)
            elif tensor.dim() >= 2:
                tensor.copy_(1.6 * noise * tensor[0].numel() ** -0.5)
            else:
                tensor.copy_(1 + 0.4 * noise if name.endswith("weight") else 0.2 * noise)
    return model.eval()


def _quieten(weight: Tensor, bias: Tensor, made: Tensor) -> None:
    """Bring the last layer to where what it made stays well within -1..1."""
    with torch.no_grad():
        factor = 0.3 / made.abs().max()
        weight.mul_(factor)
        bias.mul_(factor)


def write_mimi(folder: Path, **settings: Any) -> transformers.MimiModel:
    """A Mimi in a folder, with what is in it."""
    model = _randomise(transformers.MimiModel(transformers.MimiConfig(**(MIMI | settings))))
    codes = torch.randint(0, model.config.codebook_size, (2, model.config.num_quantizers, 40))
    with torch.no_grad():
        made = model.decode(codes).audio_values
    last = model.decoder.decoder_seanet.layers[-1].conv
    _quieten(last.weight, last.bias, made)
    model.save_pretrained(folder)
    return model


def write_janus_vq(folder: Path, **settings: Any) -> transformers.JanusVQVAE:
    """Janus's VQ model alone in a folder, with what is in it."""
    model = _randomise(transformers.JanusVQVAE(transformers.JanusVQVAEConfig(**(JANUS_VQ | settings))))
    quieten_janus(model)
    model.save_pretrained(folder)
    return model


def quieten_janus(model: transformers.JanusVQVAE) -> None:
    """Bring the pictures of a VQ model within -1..1."""
    codes = torch.randint(0, model.config.num_embeddings, (2, model.config.num_patches**2))
    with torch.no_grad():
        _quieten(model.decoder.conv_out.weight, model.decoder.conv_out.bias, model.decode(codes))


def write_janus(folder: Path) -> transformers.JanusForConditionalGeneration:
    """A whole Janus in a folder, with what is in it: pictures of 4×4 codes."""
    body = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.JanusConfig(
        text_config=body | {"model_type": "llama", "vocab_size": 50, "intermediate_size": 16, "num_key_value_heads": 2},
        vision_config=body | {"image_size": 32, "patch_size": 8, "projection_dim": 16},
        vq_config=JANUS_VQ | {"num_patches": 9, "projection_dim": 16, "image_token_embed_dim": 16},
    )
    model = _randomise(transformers.JanusForConditionalGeneration(config))
    quieten_janus(model.model.vqmodel)
    model.save_pretrained(folder)
    return model


def sounds(time: int = 40 * FRAME) -> Tensor:
    """Two recordings, (2, time)."""
    return 0.5 * torch.randn(2, time, generator=torch.Generator().manual_seed(3))


def pictures(height: int = 16, width: int = 16) -> Tensor:
    """Two pictures, (2, 3, height, width)."""
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(3)) * 2 - 1


def change_tensor(folder: Path, name: str) -> None:
    """Change one tensor of a stored model."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = tensors[name] * 0.5 + 0.3
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
