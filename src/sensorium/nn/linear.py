"""Linear maps in float32 on a CPU, through oneDNN.

PyTorch hands these products to MKL, which uses half of what a CPU of another maker than Intel can do: on a Zen 5 core
oneDNN was measured 2.2 times faster (1.1 times when held to AVX2). Everywhere else this is `F.linear`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
FEWEST_ROWS = 16  # below, a product is bound by reading the weights, and MKL starts sooner


def apply_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)`, (..., in) → (..., out), by the fastest product at hand.

    Only a plain `nn.Linear` is looked into; what took its place (a quantised map, an adapter) is called as it is.
    """
    if type(layer) is nn.Linear and torch.compiler.is_compiling() and _is_one_row(x):
        # Compiled, this reads the weights at 25 GB/s on one core, where MKL's product of one row reads 12.
        product_sum = (layer.weight * x.unsqueeze(-2)).sum(-1)  # (..., out)
        return product_sum if layer.bias is None else product_sum + layer.bias
    if type(layer) is nn.Linear and has_fast_product(x) and layer.weight.dtype == torch.float32:
        mapped: Tensor = _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    else:
        mapped = layer(x)
    return mapped


def apply_rows(layer: nn.Module, x: Tensor, rows: slice) -> Tensor:
    """`layer(x)[..., rows]`, (..., in) → (..., rows); of a plain `nn.Linear` no other row is computed."""
    if type(layer) is not nn.Linear:
        return apply_linear(layer, x)[..., rows]
    weight, bias = layer.weight[rows], None if layer.bias is None else layer.bias[rows]
    if has_fast_product(x) and weight.dtype == torch.float32:
        return product(x, weight, bias)
    return nn.functional.linear(x, weight, bias)


def has_fast_product(x: Tensor) -> bool:
    """Whether `product` beats a plain product on (..., channels)."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or not HAS_ONEDNN or torch.is_autocast_enabled("cpu"):
        return False
    return x.numel() >= FEWEST_ROWS * x.shape[-1]


def _is_one_row(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.numel() == x.shape[-1] and not torch.is_grad_enabled()


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """`left @ right.T + bias`: (..., inner) and (columns, inner) → (..., columns), all float32 on the CPU."""
    # Outside a compiled graph the custom operator would import the compiler at its first call: seconds, and 80 MB.
    result: Tensor = (_opaque_product if torch.compiler.is_compiling() else _onednn_product)(left, right, bias)
    return result


def _onednn_product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return result


_opaque_product = torch.library.custom_op("sensorium::product", _onednn_product, mutates_args=())


@_opaque_product.register_fake
def _product_shape(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: ARG001
    return left.new_empty((*left.shape[:-1], right.shape[0]))


def outer_product(left: Tensor, right: Tensor) -> Tensor:
    """`left.T @ right`, the sum of outer products over rows: (rows, m) and (rows, n) → (m, n)."""
    # oneDNN is fastest when the narrower matrix is the one it walks down.
    narrow_first = left.shape[1] <= right.shape[1]
    summed: Tensor = product(left.T, right.T) if narrow_first else product(right.T, left.T).T
    return summed


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        mapped: Tensor = product(x, weight, bias)
        return mapped

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_rows = grad.reshape(-1, grad.shape[-1])  # (rows, out)
        return (
            product(grad, weight.T) if needs_x else None,
            outer_product(grad_rows, x.reshape(-1, x.shape[-1])) if needs_weight else None,
            grad_rows.sum(0) if needs_bias and ctx.has_bias else None,
        )
