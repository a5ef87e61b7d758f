"""Fresh weights, drawn from a generator: the same for the same seed, whatever was drawn before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.nn.batch_norm import BatchNorm
from sensorium.nn.norms import RMSNorm

_RECTIFIED = 2**0.5  # half of what follows a convolution is cut off (He et al. 2015, arXiv:1502.01852)


class ZeroTable(nn.Embedding):
    """A table that begins at zero: a model that gains it says what it said."""


@torch.no_grad()
def draw_weights(part: nn.Module, generator: torch.Generator | None, *, n_layers: int = 1) -> None:
    """Draw the linear maps, convolutions, recurrences and tables of a part by fan-in; norms and biases start neutral.

    Args:
        part: its bare parameters, which belong to no such layer, are left alone.
        generator: where random numbers come from; None is torch's own.
        n_layers: blocks in a row; what each writes to the residual stream is scaled down by their number.
    """
    residual_scale = (2 * n_layers) ** -0.5
    for name, module in part.named_modules():
        if isinstance(module, BatchNorm):
            module.reset_parameters()
        elif isinstance(module, RMSNorm | nn.LayerNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Linear):
            _by_fan_in(module.weight, generator, residual_scale if name.endswith(("attention.o", "mlp.down")) else 1.0)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            _by_fan_in(module.weight, generator, _RECTIFIED)
        elif isinstance(module, ZeroTable):
            nn.init.zeros_(module.weight)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
        elif isinstance(module, nn.GRU):
            for weight in module.parameters():
                _by_fan_in(weight, generator) if weight.ndim == 2 else nn.init.zeros_(weight)
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            nn.init.zeros_(bias)


def _by_fan_in(weight: Tensor, generator: torch.Generator | None, gain: float = 1.0) -> None:
    nn.init.normal_(weight, std=gain * weight[0].numel() ** -0.5, generator=generator)


def wave_table(places: int, dim: int, *, grid: int | None = None) -> Tensor:
    """Sines and cosines of where each place is, (places, dim): what learned positions start from.

    Args:
        places: how many; of a picture, the last `grid`² are its squares row by row, and those before have no place.
        dim: channels.
        grid: squares along a side of a picture; None counts along time.
    """
    if grid is None:
        return _waves(torch.arange(places), dim)
    rows, columns = torch.arange(grid).repeat_interleave(grid), torch.arange(grid).repeat(grid)
    table = torch.zeros(places, dim)
    half = dim // 2
    table[places - grid**2 :, :half] = _waves(rows, half)
    table[places - grid**2 :, half:] = _waves(columns, dim - half)
    return table


def _waves(places: Tensor, dim: int) -> Tensor:
    frequencies = 100.0 ** -(torch.arange(dim - dim // 2) / max(dim // 2, 1))
    angles = places[:, None] * frequencies  # (places, dim / 2)
    return torch.cat((angles.sin(), angles.cos()[:, : dim // 2]), dim=-1)
