"""AdamW and Muon, and which weights each of them moves, how fast, and with how much decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.errors import ConfigError
from sensorium.nn.linear import has_fast_product, product
from sensorium.train.recipe import Stage

# Coefficients of the quintic that pushes every singular value towards 1 (Jordan et al. 2024, Muon).
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Matrices with the same singular vectors and all singular values close to 1, by Newton–Schulz iteration.

    Args:
        matrices: (count, rows, columns), all of one shape so that the products run as one batch.
        iterations: of the quintic; five bring singular values into about 0.7 to 1.2.

    Returns:
        (count, rows, columns). Computed in bfloat16 on a GPU, in the input's dtype on a CPU, where bfloat16
        products are hundreds of times slower (and where `torch.optim.Muon` insists on them).
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    x = torch.stack([_polished(one, iterations) for one in x]) if has_fast_product(x[0]) else _iterated(x, iterations)
    return (x.mT if tall else x).to(matrices.dtype)


def _iterated(x: Tensor, iterations: int) -> Tensor:
    """The quintic on (count, rows, columns), as one batch."""
    a, b, c = QUINTIC
    for _ in range(iterations):
        gram = x @ x.mT  # (count, rows, rows)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _polished(x: Tensor, iterations: int) -> Tensor:
    """The same on one matrix, by the CPU's fast product: half the time."""
    a, b, c = QUINTIC
    x = x.T.contiguous()  # (columns, rows): a product takes its right side transposed, and the Gram matrix is symmetric
    for _ in range(iterations):
        gram = product(x.T, x.T)  # (rows, rows)
        x = product(x, product(gram, gram).mul_(c).add_(gram, alpha=b)).add_(x, alpha=a)
    return x.T


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024), for hidden matrices.

    Updates are scaled to the size AdamW's usually have, `0.2 sqrt(max(rows, columns))` (Liu et al. 2025,
    arXiv:2502.16982), so that one learning rate and one weight decay serve both.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape.setdefault(weight.shape, []).append(weight)
            for weights in by_shape.values():
                self._move(weights, group["lr"], group["momentum"], group["weight_decay"])

    def _move(self, weights: list[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        velocities = [self._velocity(weight) for weight in weights]
        torch._foreach_lerp_(velocities, gradients, 1 - momentum)
        # Nesterov's look-ahead: the gradient again, on top of the velocity that already holds it.
        ahead = torch._foreach_lerp(gradients, velocities, momentum)
        rows, columns = weights[0].shape
        scale = 0.2 * max(rows, columns) ** 0.5
        torch._foreach_mul_(weights, 1 - lr * weight_decay)
        torch._foreach_add_(weights, list(orthogonalise(torch.stack(ahead))), alpha=-lr * scale)

    def _velocity(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        velocity: Tensor = state["velocity"]
        return velocity


class Optimizers:
    """The optimisers of a stage as one: rates, steps, and a state of named tensors.

    Weights that no pattern freezes are trained; matrices decay, norms and biases do not. With Muon, the hidden
    matrices go to Muon, and embeddings, norms, biases and the output matrix to AdamW.
    """

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        self.weights = trainable(model, stage.freeze)
        self._factors = lr_factors(self.weights, stage.lr_scale)
        self._lr = stage.lr
        tables = {id(weight) for weight in _tables(model)}
        hidden = {
            name
            for name, weight in self.weights.items()
            if stage.optimizer == "muon" and weight.ndim == 2 and id(weight) not in tables
        }
        others = [name for name in self.weights if name not in hidden]
        self._optimizers: list[torch.optim.Optimizer] = []
        if others:
            self._optimizers.append(
                torch.optim.AdamW(self._groups(others, stage.weight_decay), lr=stage.lr, betas=stage.betas, fused=True)
            )
        if hidden:
            groups = self._groups(sorted(hidden), stage.weight_decay)
            muon = Muon(groups, lr=stage.lr, momentum=stage.momentum, weight_decay=stage.weight_decay)
            self._optimizers.append(muon)

    def step(self, rate: float) -> None:
        """Move the weights by their gradients, at a share `rate` of the peak learning rate; drop the gradients."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._lr * group["factor"] * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All state by name, such as `exp_avg/decoder.blocks.0.mlp.up.weight`."""
        return {
            f"{key}/{name}": value
            for name, weight in self.weights.items()
            for optimizer in self._optimizers
            for key, value in optimizer.state.get(weight, {}).items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave. Raises `KeyError` for a weight that is not trained here."""
        owner = {
            weight: optimizer
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for weight in group["params"]
        }
        for optimizer in self._optimizers:
            optimizer.state.clear()
        for full_name, value in tensors.items():
            key, _, name = full_name.partition("/")
            weight = self.weights[name]
            owner[weight].state[weight][key] = value.to(weight.device).clone()

    def _groups(self, names: Iterable[str], weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups: weights with the same decay and the same factor on the learning rate."""
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name in names:
            weight = self.weights[name]
            decay = weight_decay if weight.ndim >= 2 else 0.0
            groups.setdefault((decay, self._factors[name]), []).append(weight)
        return [
            {"params": weights, "weight_decay": decay, "factor": factor} for (decay, factor), weights in groups.items()
        ]


def check_patterns(model: nn.Module, stage: Stage) -> None:
    """Raise the `ConfigError` that `Optimizers` would, without touching the model."""
    lr_factors(unfrozen(dict(model.named_parameters()), stage.freeze), stage.lr_scale)


def trainable(model: nn.Module, freeze: Iterable[str]) -> dict[str, nn.Parameter]:
    """Names and weights that no pattern freezes; the others stop asking for gradients.

    Raises:
        ConfigError: a pattern matches no weight, or nothing is left to train.
    """
    weights = dict(model.named_parameters())
    moving = unfrozen(weights, freeze)
    for name, weight in weights.items():
        weight.requires_grad_(name in moving)
    return moving


def lr_factors(weights: Mapping[str, Tensor], patterns: Mapping[str, float]) -> dict[str, float]:
    """The factor on the learning rate of each weight: that of the last pattern that matches it, or 1.

    Raises:
        ConfigError: a pattern matches no trained weight.
    """
    factors = dict.fromkeys(weights, 1.0)
    for pattern, factor in patterns.items():
        factors.update(dict.fromkeys(_matching(pattern, weights, "lr_scale"), factor))
    return factors


def unfrozen(weights: Mapping[str, nn.Parameter], freeze: Iterable[str]) -> dict[str, nn.Parameter]:
    """Names and weights that no pattern freezes. Raises `ConfigError` as `trainable`."""
    frozen = {name for pattern in freeze for name in _matching(pattern, weights, "freeze")}
    if len(frozen) == len(weights):
        raise ConfigError(
            f"freeze: the patterns freeze every weight, so there is nothing to train (spare some of {len(weights)})"
        )
    return {name: weight for name, weight in weights.items() if name not in frozen}


def _matching(pattern: str, names: Iterable[str], setting: str) -> list[str]:
    names = list(names)
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise ConfigError(f"{setting}: {pattern!r} matches no weight (they are called like {names[0]!r})")
    return found


def _tables(model: nn.Module) -> list[Tensor]:
    """Weights that are looked up by token rather than multiplied through: embeddings and output matrices."""
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    heads = [head for module in model.modules() if isinstance(head := getattr(module, "head", None), nn.Linear)]
    return tables + [head.weight for head in heads]
