"""The matrix products and the loss made of them equal what autograd makes of plain PyTorch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sensorium.nn.cross_entropy import head_cross_entropy
from sensorium.nn.linear import FEWEST_ROWS, apply_linear, apply_rows


def gradients(output: torch.Tensor, *inputs: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(output, inputs, allow_unused=False))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inner", "outer"), [(24, 56), (56, 24), (1, 1)])
@pytest.mark.parametrize("rows", [1, FEWEST_ROWS, 300])
def test_linear_equals_pytorch(rows: int, inner: int, outer: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(inner, outer, bias=bias)
    x = torch.randn(2, rows, inner, requires_grad=True)
    weights = torch.randn(2, rows, outer)
    ours, theirs = apply_linear(layer, x), F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    inputs = [x, *layer.parameters()]
    for a, b in zip(
        gradients((ours * weights).sum(), *inputs), gradients((theirs * weights).sum(), *inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, FEWEST_ROWS, 300])
def test_some_outputs_equal_those_of_all(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 56, bias=bias)
    x, some = torch.randn(2, rows, 24), slice(13, 40)
    expected = F.linear(x, layer.weight, layer.bias)[..., some]
    torch.testing.assert_close(apply_rows(layer, x, some), expected, rtol=1e-5, atol=1e-5)
    twice = nn.Sequential(layer, nn.Linear(56, 56))  # what took its place is called whole
    torch.testing.assert_close(apply_rows(twice, x, some), twice(x)[..., some], rtol=1e-5, atol=1e-5)


def test_linear_takes_strided_inputs() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 12)
    x = torch.randn(8, 40, requires_grad=True)
    torch.testing.assert_close(apply_linear(layer, x.T), F.linear(x.T, layer.weight, layer.bias))
    (grad,) = gradients(apply_linear(layer, x.T).T[:, ::2].sum(), x)
    (expected,) = gradients(F.linear(x.T, layer.weight, layer.bias).T[:, ::2].sum(), x)
    torch.testing.assert_close(grad, expected)


def test_frozen_weights_get_no_gradient() -> None:
    layer = nn.Linear(8, 8).requires_grad_(False)
    x = torch.randn(32, 8, requires_grad=True)
    apply_linear(layer, x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is None
    assert x.grad is not None


def test_what_replaced_a_linear_map_is_called() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    layer = Doubled(8, 8)
    x = torch.randn(32, 8)
    torch.testing.assert_close(apply_linear(layer, x), 2 * F.linear(x, layer.weight, layer.bias))


def head(dtype: torch.dtype, *, bias: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    torch.manual_seed(0)
    hidden_states = torch.randn(3, 40, 16, dtype=dtype, requires_grad=True)
    weight = torch.randn(50, 16, dtype=dtype, requires_grad=True)
    return hidden_states, weight, torch.randn(50, dtype=dtype, requires_grad=True) if bias else None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float64, 1e-6, 1e-6), (torch.float32, 1e-5, 1e-4)])
@pytest.mark.parametrize("chunk", [50 * 16, 1 << 20])
def test_head_cross_entropy_equals_pytorch(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, rtol: float, atol: float, chunk: int, bias: bool
) -> None:
    monkeypatch.setattr("sensorium.nn.cross_entropy.CHUNK_SCORES", {"cpu": chunk})
    hidden_states, weight, offset = head(dtype, bias=bias)
    targets = torch.randint(0, 50, (3, 40), generator=torch.Generator().manual_seed(1))
    targets[0, 5:] = -100
    targets[2, ::3] = -100
    ours = head_cross_entropy(hidden_states, weight, offset, targets)
    scores = F.linear(hidden_states, weight, offset)
    theirs = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100)
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-6, atol=1e-6)
    inputs = [hidden_states, weight] + ([] if offset is None else [offset])
    for a, b in zip(gradients(3 * ours, *inputs), gradients(3 * theirs, *inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def test_head_cross_entropy_stays_finite_for_great_scores() -> None:
    hidden_states, weight, _ = head(torch.float32, bias=False)
    targets = torch.zeros(3, 40, dtype=torch.long)
    ours = head_cross_entropy(hidden_states * 1e4, weight, None, targets)
    theirs = F.cross_entropy((hidden_states * 1e4 @ weight.T).flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(ours, theirs)


def test_nothing_learned_is_zero_with_zero_gradients() -> None:
    hidden_states, weight, _ = head(torch.float32, bias=False)
    loss = head_cross_entropy(hidden_states, weight, None, torch.full((3, 40), -100))
    assert loss.item() == 0.0
    assert all(grad.abs().max() == 0 for grad in gradients(loss, hidden_states, weight))


def test_loss_without_gradients_is_the_same() -> None:
    hidden_states, weight, _ = head(torch.float32, bias=False)
    targets = torch.arange(120).view(3, 40) % 50
    with torch.no_grad():
        quiet = head_cross_entropy(hidden_states, weight, None, targets)
    assert not quiet.requires_grad
    assert quiet == head_cross_entropy(hidden_states, weight, None, targets)


@pytest.mark.parametrize("backend", [None, "aot_eager"])
@pytest.mark.parametrize("bias", [True, False])
def test_head_cross_entropy_under_autocast_keeps_float32_gradients(
    monkeypatch: pytest.MonkeyPatch, bias: bool, backend: str | None
) -> None:
    monkeypatch.setattr("sensorium.nn.linear.HAS_ONEDNN", False)  # as on a GPU
    monkeypatch.setattr("sensorium.nn.cross_entropy.CHUNK_SCORES", {"cpu": 50 * 32})
    hidden_states, weight, offset = head(torch.float32, bias=bias)
    targets = torch.arange(120).view(3, 40) % 50
    inputs = [hidden_states, weight] + ([] if offset is None else [offset])
    expected = head_cross_entropy(hidden_states, weight, offset, targets)
    loss_of = head_cross_entropy if backend is None else torch.compile(head_cross_entropy, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        ours = loss_of(hidden_states, weight, offset, targets)
    assert ours.dtype == torch.float32
    assert ours != expected  # the products were of bfloat16
    torch.testing.assert_close(ours, expected, rtol=1e-2, atol=0)
    for a, b in zip(gradients(ours, *inputs), gradients(expected, *inputs), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()
