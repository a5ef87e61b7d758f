"""The vision transformer (Dosovitskiy et al. 2020, arXiv:2010.11929): ViT, CLIP's and SigLIP's by its settings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import ViTConfig
from sensorium.errors import RequestError
from sensorium.nn.attention import Visibility
from sensorium.nn.cross_attention import CrossAttention
from sensorium.nn.init import draw_weights, wave_table
from sensorium.nn.linear import apply_linear
from sensorium.nn.mlp import MLP
from sensorium.nn.norms import make_norm
from sensorium.nn.patches import check_pixels
from sensorium.nn.transformer import Block


class PatchStem(nn.Module):
    """One product per patch."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.conv = nn.Conv2d(3, config.dim, size, stride=size, bias=config.patch_bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → (n, patches, dim)."""
        patches: Tensor = self.conv(pixels)
        return patches.flatten(2).transpose(1, 2)


class ConvStem(nn.Module):
    """Convolutions that each halve the picture, down to the patch size (Xiao et al. 2021, arXiv:2106.14881).

    Widths double towards the model's; each convolution is followed by a norm over channels and GELU, all of it with
    channels last, which a CPU is quickest at.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        halvings = config.patch_size.bit_length() - 1
        widths = [max(config.dim >> (halvings - 1 - layer), 8) for layer in range(halvings)]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=config.norm_eps) for width in widths)
        self.project = nn.Linear(widths[-1] if widths else 3, config.dim, bias=config.patch_bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → (n, patches, dim)."""
        x = pixels.permute(0, 2, 3, 1)  # (n, height, width, channels)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = F.gelu(norm(x))
        return apply_linear(self.project, x.flatten(1, 2))


class AttentionPool(nn.Module):
    """SigLIP's head: one learned query attends to all states, then an MLP with its residual."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(config.dim))
        self.attention = CrossAttention(config.dim, config.n_heads)
        self.mlp_norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = MLP(config.blocks())

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(n, places, dim) → (n, dim)."""
        queries = self.query.expand(hidden_states.shape[0], 1, -1)
        attended = self.attention(queries, hidden_states)
        pooled: Tensor = attended + self.mlp(self.mlp_norm(attended))
        return pooled[:, 0]


class ViT(nn.Module):
    """Patches, positions, blocks that see everything, and a norm."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        blocks = config.blocks()
        self.stem = ConvStem(config) if config.stem == "conv" else PatchStem(config)
        self.class_token = nn.Parameter(torch.zeros(config.dim)) if config.class_token else None
        self.position = nn.Embedding(config.grid**2 + config.class_token, config.dim)
        self.embedding_norm = make_norm("layer", config.dim, config.norm_eps) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(blocks, layer) for layer in range(config.n_layers))
        self.final_norm = make_norm("layer", config.dim, config.norm_eps) if config.final_norm else None
        self.pool = AttentionPool(config) if config.pooling == "attention" else None
        self.pooled_norm = make_norm("layer", config.dim, config.norm_eps) if config.pooled_norm else None

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights; positions start as sines and cosines of row and column."""
        draw_weights(self, generator, n_layers=self.config.n_layers)
        self.position.weight.copy_(wave_table(self.position.num_embeddings, self.config.dim, grid=self.config.grid))
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=0.02, generator=generator)
        if self.pool is not None:
            nn.init.normal_(self.pool.query, generator=generator)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features that a decoder is shown: (n, 3, height, width) → (n, n_features, dim).

        Raises:
            RequestError: pictures of another size than the encoder's.
        """
        hidden_states = self._states(pixels)
        return hidden_states[:, 1:] if self.config.class_token and self.config.drop_class else hidden_states

    def pooled(self, pixels: Tensor) -> Tensor:
        """One vector per picture: (n, 3, height, width) → (n, dim).

        Raises:
            RequestError: pictures of another size, or an encoder without a pooling.
        """
        states = self._states(pixels)
        if self.pool is not None:
            pooled: Tensor = self.pool(states)
        elif self.config.pooling == "class":
            pooled = states[:, 0]
        elif self.config.pooling == "mean":
            pooled = states[:, int(self.config.class_token) :].mean(1)
        else:
            raise RequestError("this vision encoder gives no single vector of a picture (set pooling)")
        return pooled if self.pooled_norm is None else self.pooled_norm(pooled)

    def _states(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → (n, class token and patches, dim)."""
        check_pixels(pixels, self.config.image_size)
        x: Tensor = self.stem(pixels)  # (n, patches, dim)
        if self.class_token is not None:
            x = torch.cat((self.class_token.expand(x.shape[0], 1, -1), x), dim=1)
        x = x + self.position.weight
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        for block in self.blocks:
            x = block(x, positions, None, Visibility())
        return x if self.final_norm is None else self.final_norm(x)
