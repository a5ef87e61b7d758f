"""Training speed against `transformers`, on the same packed batch, from the same weights, in the same run.

    python benchmarks/training.py [--threads 2] [--repeats 5] [--models llama-5.7m gpt2-5.9m llama-15.7m] [--no-compile]

One optimiser step on 16 rows of 256 tokens over a vocabulary of 4,096: forward, loss, backward, AdamW, in float32.
The peer runs in its fastest stock setting (fused attention, no cache), plainly and under `torch.compile`; `ratio` is
ours over the faster of the two. Losses and gradients must agree before anything is timed. To show where our gain comes
from, a third peer is handed our matrix products for all of its linear maps; `ratio_with_our_products`, ours over that
one, is what the rest of our code adds (a head that never holds all scores, fewer copies). Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from sensorium.hub.folder import load_pretrained
from sensorium.nn.compilation import has_compiler
from sensorium.nn.linear import apply_linear, product
from sensorium.nn.transformer import Transformer

VOCABULARY, ROWS, TIME = 4096, 16, 256
Step = Callable[[], Any]

PEERS: dict[str, Callable[[], transformers.PreTrainedModel]] = {
    "llama-5.7m": lambda: llama(dim=256, layers=6, heads=8, hidden=672),
    "gpt2-5.9m": lambda: gpt2(dim=256, layers=6, heads=8),
    "llama-15.7m": lambda: llama(dim=384, layers=8, heads=6, hidden=1024),
}


def llama(*, dim: int, layers: int, heads: int, hidden: int, max_positions: int = 512) -> transformers.PreTrainedModel:
    """The peer's Llama, drawn from seed 0."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=hidden,
        max_position_embeddings=max_positions,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return transformers.LlamaForCausalLM(config)


def gpt2(*, dim: int, layers: int, heads: int) -> transformers.PreTrainedModel:
    """The peer's GPT-2, drawn from seed 0, without dropout."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=dim,
        n_layer=layers,
        n_head=heads,
        n_positions=512,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return transformers.GPT2LMHeadModel(config)


def ours_from(peer: transformers.PreTrainedModel) -> Transformer:
    """Our decoder with the peer's weights, by way of its folder."""
    with TemporaryDirectory() as folder:
        peer.save_pretrained(folder)
        decoder = load_pretrained(Path(folder)).model.decoder
        for parameter in decoder.parameters():  # out of the mapped file, which is about to go
            parameter.data = parameter.data.clone()
    decoder.tie_weights()
    return decoder.train()


class OurLinear(nn.Module):
    """A linear map of the peer's, by our matrix product."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) → (..., out)."""
        return apply_linear(self.layer, x)


def with_our_products(peer: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """The peer with every linear map replaced, in place."""
    for parent in list(peer.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, Conv1D):  # GPT-2's: a linear map whose weight is stored (in, out)
                linear = nn.Linear(*layer.weight.shape)
                linear.weight, linear.bias = nn.Parameter(layer.weight.detach().T.contiguous()), layer.bias
                setattr(parent, name, OurLinear(linear))
            elif type(layer) is nn.Linear:
                setattr(parent, name, OurLinear(layer))
    return peer


def gradient_norm(model: nn.Module, loss: Callable[[], Tensor]) -> float:
    """Of all weights together, which are left without gradients."""
    loss().backward()
    norm = nn.utils.get_total_norm([weight.grad for weight in model.parameters() if weight.grad is not None])
    model.zero_grad(set_to_none=True)
    return float(norm)


def training_step(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """One optimiser step, the same for every contender."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def median_seconds(steps: Mapping[str, Step], repeats: int, *, warm_up: int = 2) -> dict[str, float]:
    """Seconds a step takes, the median of `repeats`, contenders taking turns after `warm_up` steps each."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(warm_up):
            step()
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def product_limits(repeats: int) -> dict[str, float]:
    """GFLOP/s of a large square product, by PyTorch's default library and by oneDNN."""
    size = 2048
    left, right = torch.randn(size, size), torch.randn(size, size)
    seconds = median_seconds({"default": lambda: left @ right, "onednn": lambda: product(left, right)}, repeats)
    return {name: 2 * size**3 / value / 1e9 for name, value in seconds.items()}


def agree(ours: float, theirs: float, what: str = "losses") -> float:
    """The difference of two losses, or gradient norms. Raises `SystemExit` where it is 1e-4 or more."""
    if not abs(ours - theirs) < 1e-4:
        raise SystemExit(f"the {what} differ, {ours} and {theirs}: the contenders do not compute the same thing")
    return abs(ours - theirs)


def measure(name: str, repeats: int, *, compiled: bool) -> dict[str, Any]:
    """Steps of one model by every contender."""
    peer = PEERS[name]().train()
    ours = ours_from(peer)
    ids = torch.randint(0, VOCABULARY, (ROWS, TIME + 1), generator=torch.Generator().manual_seed(1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    tokens = targets.numel()

    def our_loss() -> Tensor:
        return ours.loss(inputs, targets) / tokens

    def peer_loss(model: Callable[..., Any] = peer) -> Tensor:
        # `shift_labels` are targets already shifted, so that both learn the same 256 places of a row.
        loss: Tensor = model(input_ids=inputs, labels=targets, shift_labels=targets).loss
        return loss

    assert ours.n_parameters() == peer.num_parameters()
    difference = agree(our_loss().item(), peer_loss().item())
    agree(gradient_norm(ours, our_loss), gradient_norm(peer, peer_loss), "gradient norms")
    handed = with_our_products(PEERS[name]().train())
    agree(our_loss().item(), peer_loss(handed).item())
    steps = {
        "sensorium": training_step(ours, our_loss),
        "transformers": training_step(peer, peer_loss),
        "transformers_with_our_products": training_step(handed, lambda: peer_loss(handed)),
    }
    if compiled:
        twin = PEERS[name]().train()
        faster = torch.compile(twin)
        steps["transformers_compiled"] = training_step(twin, lambda: peer_loss(faster))
    seconds = median_seconds(steps, repeats)
    stock = min(seconds["transformers"], seconds.get("transformers_compiled", seconds["transformers"]))
    limits = product_limits(repeats)
    flops = ours.flops_per_token(TIME) * tokens / seconds["sensorium"] / 1e9
    return {
        "parameters": ours.n_parameters(),
        "loss_difference": difference,
        "tokens_per_s": {contender: round(tokens / value) for contender, value in seconds.items()},
        "ratio": round(stock / seconds["sensorium"], 3),
        "ratio_with_our_products": round(seconds["transformers_with_our_products"] / seconds["sensorium"], 3),
        "gflop_per_s": round(flops, 1),
        "product_limit_gflop_per_s": {library: round(value, 1) for library, value in limits.items()},
        "share_of_limit": round(flops / max(limits.values()), 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="time the peer under torch.compile too"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    compiled = options.compile and has_compiler(torch.device("cpu"))
    models = {name: measure(name, options.repeats, compiled=compiled) for name in options.models}
    print(json.dumps({"benchmark": "training", "threads": options.threads, "models": models}))


if __name__ == "__main__":
    main()
