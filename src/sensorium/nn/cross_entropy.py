"""Output matrix and cross-entropy in one, over learned positions only, a few rows at a time.

The scores of a batch outweigh every other activation (4,096 positions over 32,000 tokens are half a gigabyte). Here
they never exist at once: each chunk's scores turn into their own gradient in place, while they are still in cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sensorium.nn.linear import has_fast_product, outer_product, product

CHUNK_SCORES = {"cpu": 1 << 20, "cuda": 1 << 27}  # scores held at a time


def head_cross_entropy(hidden_states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Summed cross-entropy, in nats, of `hidden_states @ weight.T + bias` against `targets`.

    Args:
        hidden_states: (..., dim).
        weight: (vocab_size, dim).
        bias: (vocab_size,) or none.
        targets: (...) token ids, negative where nothing is learned.

    Returns:
        A float32 scalar; 0 where nothing is learned. It can be differentiated once. Under autocast the products are
        of its dtype, and what they add up to (loss, gradient of the weight) is kept in the inputs' own.
    """
    device = hidden_states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    with_gradients = torch.is_grad_enabled()
    loss: Tensor = _HeadCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_states, weight, bias, targets, dtype, with_gradients
    )
    return loss


def _loss_and_gradients(
    hidden_states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    dtype: torch.dtype,
    with_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss and its gradients by hidden states, weight and bias (empty where not wanted); products in `dtype`."""
    dim = hidden_states.shape[-1]
    flat, flat_targets = hidden_states.reshape(-1, dim), targets.reshape(-1)
    learned = (flat_targets >= 0).nonzero().squeeze(1)
    loss = torch.zeros((), dtype=torch.float32, device=flat.device)
    grads = _empty_gradients(hidden_states, weight, bias, with_gradients)
    grad_flat = grads[0].view(-1, dim)
    matrix, offset = weight.to(dtype), bias if bias is None else bias.to(dtype)
    rows = max(16, CHUNK_SCORES.get(flat.device.type, 1 << 27) // weight.shape[0])
    for index in torch.split(learned, rows):
        chunk, wanted = flat[index].to(dtype), flat_targets[index].unsqueeze(1)  # (rows, dim), (rows, 1)
        fast = has_fast_product(chunk)
        scores = product(chunk, matrix, offset) if fast else torch.nn.functional.linear(chunk, matrix, offset)
        scores = scores.float()  # (rows, vocab_size)
        scores -= scores.amax(dim=1, keepdim=True)
        loss -= scores.gather(1, wanted).sum()
        total = scores.exp_().sum(dim=1, keepdim=True)
        loss += total.log().sum()
        if with_gradients:
            scores /= total
            scores.scatter_add_(1, wanted, scores.new_full((), -1.0).expand_as(wanted))
            scores = scores.to(dtype)
            by_chunk = product(scores, matrix.T) if fast else scores @ matrix
            grad_flat[index] = by_chunk.to(grad_flat.dtype)
            grads[1].add_(outer_product(scores, chunk) if fast else scores.T @ chunk)
            if bias is not None:
                grads[2].add_(scores.sum(0))
    return loss, *grads


_opaque = torch.library.custom_op("sensorium::head_cross_entropy", _loss_and_gradients, mutates_args=())


@_opaque.register_fake
def _shapes(
    hidden_states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,  # noqa: ARG001
    dtype: torch.dtype,  # noqa: ARG001
    with_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    loss = hidden_states.new_empty((), dtype=torch.float32)
    return loss, *_empty_gradients(hidden_states, weight, bias, with_gradients)


def _empty_gradients(
    hidden_states: Tensor, weight: Tensor, bias: Tensor | None, wanted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    if not wanted:
        return hidden_states.new_empty(0), weight.new_empty(0), weight.new_empty(0)
    by_bias = weight.new_empty(0) if bias is None else torch.zeros_like(bias)
    grad_hidden = hidden_states.new_zeros(hidden_states.shape)
    return grad_hidden, torch.zeros_like(weight), by_bias


class _HeadCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        dtype: torch.dtype,
        with_gradients: bool,
    ) -> Tensor:
        # As for a product: the custom operator imports the compiler, so only a compiled graph may call it.
        run = _opaque if torch.compiler.is_compiling() else _loss_and_gradients
        loss: Tensor
        loss, *gradients = run(hidden_states, weight, bias, targets, dtype, with_gradients)
        ctx.save_for_backward(*gradients)
        ctx.has_bias = bias is not None
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight, by_bias = ctx.saved_tensors
        grad = grad.to(by_hidden.dtype)
        return by_hidden * grad, by_weight * grad, by_bias * grad if ctx.has_bias else None, None, None, None
