"""Residual networks (He et al. 2015, arXiv:1512.03385): ResNet-18 and -50, and small ones without a stride at first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.config import ResNetConfig
from sensorium.nn.batch_norm import BatchNorm
from sensorium.nn.init import draw_weights
from sensorium.nn.mlp import ACTIVATIONS
from sensorium.nn.patches import check_pixels


class ConvNorm(nn.Module):
    """A convolution that keeps the size (but for its stride), and its batch norm."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = BatchNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, height, width) → (n, after, height / stride, width / stride)."""
        normed: Tensor = self.norm(self.conv(x))
        return normed


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions (basic), or a 3×3 one between two 1×1 (bottleneck), added to what came in.

    Between the convolutions stands ReLU, whatever the activation after the sum, as in the published networks.
    """

    def __init__(self, config: ResNetConfig, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[config.activation]
        self.shortcut = ConvNorm(before, after, 1, stride) if before != after or stride != 1 else None
        if config.block == "basic":
            layers = [ConvNorm(before, after, 3, stride), ConvNorm(after, after, 3)]
        else:
            inner = after // 4
            first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
            layers = [ConvNorm(before, inner, 1, first), ConvNorm(inner, inner, 3, second), ConvNorm(inner, after, 1)]
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, before, height, width) → (n, after, height / stride, width / stride)."""
        residual = x if self.shortcut is None else self.shortcut(x)
        for index, layer in enumerate(self.layers):
            x = layer(F.relu(x) if index else x)
        return self.activation(x + residual)


class ResNet(nn.Module):
    """A stem and stages of residual blocks; each place of the last map is a feature."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[config.activation]
        kernel, stride = (7, 2) if config.stem == "imagenet" else (3, 1)
        self.stem = ConvNorm(3, config.stem_dim, kernel, stride)
        self.stages = nn.ModuleList()
        before = config.stem_dim
        for stage, (after, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
            stride = 2 if stage or config.downsample_in_first_stage else 1
            first = ResidualBlock(config, before, after, stride)
            self.stages.append(nn.Sequential(first, *(ResidualBlock(config, after, after, 1) for _ in range(1, depth))))
            before = after

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights; each block starts as its shortcut alone (Goyal et al. 2017, arXiv:1706.02677)."""
        draw_weights(self, generator)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                last = module.layers[-1]
                assert isinstance(last, ConvNorm)
                nn.init.zeros_(last.norm.weight)

    def forward(self, pixels: Tensor) -> Tensor:
        """Features row by row: (n, 3, height, width) → (n, n_features, dim).

        Raises:
            RequestError: pictures of another size than the encoder's.
        """
        return self._map(pixels).flatten(2).transpose(1, 2)

    def pooled(self, pixels: Tensor) -> Tensor:
        """The mean feature: (n, 3, height, width) → (n, dim). Raises `RequestError` as `forward`."""
        return self._map(pixels).mean((2, 3))

    def _map(self, pixels: Tensor) -> Tensor:
        """(n, 3, height, width) → (n, dim, grid, grid)."""
        check_pixels(pixels, self.config.image_size)
        x = pixels.contiguous(memory_format=torch.channels_last)  # the layout a CPU convolves fastest
        x = self.activation(self.stem(x))
        if self.config.stem == "imagenet":
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
        return x
