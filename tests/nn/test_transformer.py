"""What must always hold of the one transformer, whatever its settings."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from sensorium.config import TransformerConfig
from sensorium.errors import RequestError
from sensorium.nn.attention import Attention, KVCache, Visibility
from sensorium.nn.transformer import Transformer

BASE: dict[str, Any] = {"vocab_size": 61, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "max_positions": 64}
GPT2 = {
    "positions": "learned",
    "norm": "layer",
    "activation": "gelu_tanh",
    "gated_mlp": False,
    "qkv_bias": True,
    "attention_output_bias": True,
    "mlp_bias": True,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "rope": {},
    "learned": GPT2,
    "sinusoidal": {"positions": "sinusoidal", "embedding_scale": 32**0.5},
    "grouped": {"n_kv_heads": 2, "qk_norm": True, "qkv_bias": True},
    "multi_query": {"n_kv_heads": 1, "head_dim": 12, "tie_embeddings": False},
    "window": {"sliding_window": 5},
    "mixed_window": {"sliding_window": 4, "sliding_layers": (1,)},
    "post_norm": {"norm_placement": "post", "norm": "layer", "attention_scale": 0.5},
}


def build(**settings: Any) -> Transformer:
    """A small model in eval mode whose every weight is random and large enough to matter."""
    model = Transformer(TransformerConfig(**{**BASE, **settings})).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.normal_(centre, 0.3, generator=generator)
    return model


def tokens(rows: int, time: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 61, (rows, time), generator=torch.Generator().manual_seed(seed))


def scores(model: Transformer, input_ids: Tensor, **how: Any) -> Tensor:
    with torch.no_grad():
        return model.logits(model(input_ids, **how))


def gradients(model: Transformer, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same_gradients(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    assert ours.keys() == expected.keys()
    # Some gradients are zero but for rounding: a key's bias moves every score of a query alike.
    rounding = 1e-6 * max(grad.norm() for grad in expected.values())
    for name, grad in expected.items():
        assert (ours[name] - grad).norm() <= tolerance * grad.norm() + rounding, name


def assert_near(ours: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


variants = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())


@variants
def test_cached_equals_uncached_for_rows_of_different_length(settings: dict[str, Any]) -> None:
    model, lengths, total = build(**settings), (3, 9), 16
    input_ids = tokens(2, total)
    expected = scores(model, input_ids)
    cache = KVCache(model.config, 2, 20, dtype=torch.float32, device=torch.device("cpu"))
    # Each row reads its own prompt, right-padded; what is written beyond is overwritten before it is seen.
    prompt = torch.arange(max(lengths)).expand(2, -1)
    first = scores(model, input_ids[:, : max(lengths)], positions=prompt, cache=cache)
    for row, length in enumerate(lengths):
        assert_near(first[row, :length], expected[row, :length])
    rows = torch.arange(2)
    for step in range(total - max(lengths)):
        at = torch.tensor(lengths) + step
        stepped = scores(model, input_ids[rows, at][:, None], positions=at[:, None], cache=cache)
        assert_near(stepped[:, 0], expected[rows, at])


@variants
@pytest.mark.parametrize("causal", [True, False])
def test_padding_changes_nothing(settings: dict[str, Any], causal: bool) -> None:
    model, input_ids = build(**settings, causal=causal), tokens(2, 12)
    padding = torch.arange(20) < 12
    padded = torch.cat((input_ids, tokens(2, 8, seed=5)), dim=1)
    assert_near(scores(model, padded, padding=padding.expand(2, -1))[:, :12], scores(model, input_ids))


@variants
def test_batched_equals_single(settings: dict[str, Any]) -> None:
    model, input_ids = build(**settings), tokens(5, 11)
    assert_near(scores(model, input_ids), torch.cat([scores(model, row[None]) for row in input_ids]))


@variants
def test_a_causal_model_never_looks_ahead(settings: dict[str, Any]) -> None:
    model, input_ids = build(**settings), tokens(1, 20)
    changed = input_ids.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 61
    before, after = scores(model, input_ids), scores(model, changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert (before[:, 10:] - after[:, 10:]).abs().min() > 0


def test_a_bidirectional_model_sees_both_ways() -> None:
    model, input_ids = build(causal=False), tokens(1, 20)
    changed = input_ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 61
    assert (scores(model, input_ids) - scores(model, changed)).abs().amax(-1).min() > 1e-4


PACKED_LENGTHS = ((7, 10, 3), (12, 5))  # two rows of 20; the second ends in three places of padding


def packed() -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
    """A packed batch and its documents, each (inputs, targets)."""
    batch = {
        "input_ids": tokens(2, 20, seed=9),
        "targets": torch.full((2, 20), -100),
        "positions": torch.zeros(2, 20, dtype=torch.long),
        "document_ids": torch.full((2, 20), -1),
    }
    documents = []
    for row, lengths in enumerate(PACKED_LENGTHS):
        begin = 0
        for index, length in enumerate(lengths):
            place = slice(begin, begin + length)
            batch["targets"][row, place] = tokens(1, length, seed=20 + begin)[0]
            batch["targets"][row, begin] = -100
            batch["positions"][row, place] = torch.arange(length)
            batch["document_ids"][row, place] = index
            documents.append((batch["input_ids"][row : row + 1, place], batch["targets"][row : row + 1, place]))
            begin += length
    return batch, documents


@variants
@pytest.mark.parametrize("causal", [True, False])
def test_packed_loss_and_gradients_equal_those_of_each_document(settings: dict[str, Any], causal: bool) -> None:
    model, (batch, documents) = build(**settings, causal=causal), packed()
    loss = model.loss(**batch)
    alone = torch.stack([model.loss(*document) for document in documents]).sum()
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-4)
    assert_same_gradients(gradients(model, loss), gradients(model, alone))


@variants
def test_a_mask_and_a_walk_over_documents_agree(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, (batch, _) = build(**settings), packed()
    walked = model.loss(**batch)
    expected = gradients(model, walked)
    monkeypatch.setattr("sensorium.nn.attention._splits_documents", lambda _: False)
    masked = model.loss(**batch)
    torch.testing.assert_close(walked, masked, rtol=1e-5, atol=1e-4)
    assert_same_gradients(gradients(model, masked), expected)


def test_a_document_never_sees_its_neighbour() -> None:
    model, (batch, _) = build(), packed()
    where = {"positions": batch["positions"], "document_ids": batch["document_ids"]}
    before = scores(model, batch["input_ids"], **where)
    batch["input_ids"][0, :7] = (batch["input_ids"][0, :7] + 1) % 61
    after = scores(model, batch["input_ids"], **where)
    assert torch.equal(before[0, 7:], after[0, 7:])
    assert torch.equal(before[1], after[1])
    assert (before[0, :7] - after[0, :7]).abs().amax(-1).min() > 0


def test_masked_targets_and_no_targets() -> None:
    model, input_ids = build(causal=False, head_transform=True, head_bias=True), tokens(2, 10)
    targets = torch.full((2, 10), -100)
    nothing = model.loss(input_ids, targets)
    assert nothing.item() == 0.0
    assert all(grad.abs().max() == 0 for grad in gradients(model, nothing).values())
    targets[0, 3], targets[1, 8] = 7, 11
    logprobs = scores(model, input_ids).log_softmax(-1)
    expected = -(logprobs[0, 3, 7] + logprobs[1, 8, 11])
    torch.testing.assert_close(model.loss(input_ids, targets), expected, rtol=1e-5, atol=1e-5)


def test_a_window_sees_that_many_keys() -> None:
    model, input_ids = build(n_layers=1, sliding_window=3, positions="none"), tokens(1, 12)
    for place in range(12):
        changed = input_ids.clone()
        changed[0, place] = (changed[0, place] + 1) % 61
        moved = (scores(model, input_ids) - scores(model, changed)).abs().amax(-1)[0] > 0
        assert moved.nonzero().flatten().tolist() == list(range(place, min(place + 3, 12)))


def test_a_window_as_long_as_the_text_is_none() -> None:
    input_ids = tokens(2, 12)
    assert_near(scores(build(sliding_window=12), input_ids), scores(build(), input_ids), 1e-6)
    assert (scores(build(sliding_window=11), input_ids) - scores(build(), input_ids))[:, -1].abs().max() > 1e-4


def test_rotary_scores_depend_on_distance_only() -> None:
    model, input_ids = build(), tokens(1, 12)
    positions = torch.arange(12)[None]
    assert_near(scores(model, input_ids, positions=positions + 31), scores(model, input_ids))
    assert (scores(model, input_ids, positions=positions * 2) - scores(model, input_ids)).abs().max() > 1e-2


def test_a_text_beyond_the_context_is_refused() -> None:
    with pytest.raises(RequestError, match="65 tokens exceed the model's context of 64"):
        build()(tokens(1, 65))


def paper_positions(time: int, dim: int) -> Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(the same) (Vaswani et al. 2017, section 3.5)."""
    table = torch.zeros(time, dim)
    for place in range(time):
        for channel in range(0, dim, 2):
            angle = place / 10_000 ** (channel / dim)
            table[place, channel], table[place, channel + 1] = math.sin(angle), math.cos(angle)
    return table


@pytest.mark.parametrize("causal", [True, False])
def test_the_paper_of_2017(causal: bool) -> None:
    model = build(
        positions="sinusoidal",
        norm="layer",
        norm_placement="post",
        activation="relu",
        gated_mlp=False,
        embedding_scale=32**0.5,
        causal=causal,
        qkv_bias=True,
        attention_output_bias=True,
        mlp_bias=True,
    )
    layer = nn.TransformerEncoderLayer(32, 4, 48, dropout=0.0, activation="relu", batch_first=True, norm_first=False)
    stack = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    for theirs, ours in zip(stack.layers, model.blocks, strict=True):
        theirs.load_state_dict(_as_encoder_layer(ours.state_dict()))
    input_ids = tokens(2, 17)
    embedded = model.embeddings.token.weight[input_ids] * 32**0.5 + paper_positions(17, 32)
    mask = nn.Transformer.generate_square_subsequent_mask(17) if causal else None
    with torch.no_grad():
        expected = stack(embedded, mask=mask, is_causal=causal) @ model.embeddings.token.weight.T
    assert_near(scores(model, input_ids), expected)


def _as_encoder_layer(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for kind in ("weight", "bias"):
        renamed[f"self_attn.in_proj_{kind}"] = torch.cat([weights[f"attention.{name}.{kind}"] for name in "qkv"])
        renamed[f"self_attn.out_proj.{kind}"] = weights[f"attention.o.{kind}"]
        renamed[f"linear1.{kind}"], renamed[f"linear2.{kind}"] = weights[f"mlp.up.{kind}"], weights[f"mlp.down.{kind}"]
        renamed[f"norm1.{kind}"], renamed[f"norm2.{kind}"] = (
            weights[f"attention_norm.{kind}"],
            weights[f"mlp_norm.{kind}"],
        )
    return renamed


@pytest.mark.parametrize("kind", ["dropout", "attention_dropout"])
def test_dropout_acts_in_training_only(kind: str) -> None:
    model, input_ids = build(**{kind: 0.5}), tokens(2, 12)
    assert torch.equal(scores(model, input_ids), scores(build(), input_ids))
    model.train()
    torch.manual_seed(0)
    first, second = scores(model, input_ids), scores(model, input_ids)
    assert (first - second).abs().max() > 1e-2
    torch.manual_seed(0)
    assert torch.equal(scores(model, input_ids), first)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointed_activations_give_equal_gradients(dropout: float) -> None:
    model, (batch, _) = build(dropout=dropout).train(), packed()
    torch.manual_seed(0)
    expected = gradients(model, model.loss(**batch))
    model.checkpoint_activations = True
    torch.manual_seed(0)
    assert_same_gradients(gradients(model, model.loss(**batch)), expected, 1e-6)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    "settings", [{}, GPT2, VARIANTS["grouped"], VARIANTS["window"]], ids=["rope", "gpt2", "grouped", "window"]
)
def test_compiles_without_graph_breaks(settings: dict[str, Any], backend: str) -> None:
    model, (batch, _) = build(**settings, n_layers=1), packed()
    expected = model.loss(**batch)
    expected_grads = gradients(model, expected)
    torch.compiler.reset()
    compiled = torch.compile(model.loss, fullgraph=True, backend=backend)
    loss = compiled(**batch)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    assert_same_gradients(gradients(model, loss), expected_grads)
    forward = torch.compile(model, fullgraph=True, backend=backend)
    assert_near(forward(batch["input_ids"]), model(batch["input_ids"]))


@variants
def test_parameters_are_counted_once(settings: dict[str, Any]) -> None:
    model = build(**settings)
    unique = {parameter.data_ptr(): parameter.numel() for parameter in model.parameters()}
    assert model.n_parameters() == sum(unique.values())
    tables = [model.embeddings.position] + ([] if model.config.tie_embeddings else [model.embeddings.token])
    left_out = sum(table.weight.numel() for table in tables if table is not None)
    assert model.n_parameters(embeddings=False) == model.n_parameters() - left_out


@variants
def test_operations_are_those_that_pytorch_counts(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # PyTorch counts its own products, and every key of a bidirectional layer without a window.
    monkeypatch.setattr("sensorium.nn.linear.HAS_ONEDNN", False)
    without_window = {name: value for name, value in settings.items() if not name.startswith("sliding")}
    model, time = build(**without_window, causal=False), 24
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        scores(model, tokens(1, time))
    assert model.flops_per_token(time, training=False) == pytest.approx(counter.get_total_flops() / time)
    assert model.flops_per_token(time) == 3 * model.flops_per_token(time, training=False)


@pytest.mark.parametrize("window", [None, 1, 5, 24, 40])
@pytest.mark.parametrize("causal", [True, False])
def test_operations_count_the_keys_that_are_seen(window: int | None, causal: bool) -> None:
    time = 24
    seen = sum(
        (key <= query or not causal) and (window is None or abs(query - key) < window)
        for query in range(time)
        for key in range(time)
    )
    model = build(sliding_window=window, causal=causal)
    blind = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    attention = model.flops_per_token(time, training=False) - 2 * blind
    assert attention == pytest.approx(3 * 4 * 32 * seen / time)


@pytest.mark.parametrize("lengths", [None, (7, 9)])
def test_attention_learns_in_float32_on_a_cpu_whatever_the_products_are_in(lengths: tuple[int, int] | None) -> None:
    torch.manual_seed(4)
    attention = Attention(TransformerConfig.parse(BASE, "test"), 0)
    hidden = torch.randn(1, 16, 32)
    visible = Visibility(causal=True, lengths=lengths)
    seen: list[torch.dtype] = []

    def watched(*args: Tensor, **settings: Any) -> Tensor:
        seen.append(args[0].dtype if not torch.is_autocast_enabled("cpu") else torch.bfloat16)
        return attend(*args, **settings)

    attend = F.scaled_dot_product_attention
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(F, "scaled_dot_product_attention", watched)
        half = attention(hidden, torch.arange(16)[None], None, visible)
        assert set(seen) == {torch.float32}
        seen.clear()
        attention.requires_grad_(requires_grad=False)
        attention(hidden, torch.arange(16)[None], None, visible)  # nothing learns: the faster products
        assert set(seen) == {torch.bfloat16}
        attention.requires_grad_(requires_grad=True)
    half.float().pow(2).sum().backward()
    assert half.dtype == torch.bfloat16
    learned = [weight.grad.clone() for weight in attention.parameters() if weight.grad is not None]
    attention.zero_grad()
    full = attention(hidden, torch.arange(16)[None], None, visible)
    full.pow(2).sum().backward()
    assert torch.allclose(half.float(), full, atol=0.03, rtol=0.03)
    for ours, weight in zip(learned, attention.parameters(), strict=True):
        assert weight.grad is not None
        assert F.cosine_similarity(ours.flatten(), weight.grad.flatten(), dim=0) > 0.999


def test_an_autocast_free_half_precision_model_answers() -> None:
    model, input_ids = build(), tokens(1, 12)
    expected = scores(model, input_ids)
    halved = scores(model.to(torch.bfloat16), input_ids).float()
    assert (halved - expected).abs().mean() < 0.05 * expected.abs().mean()
