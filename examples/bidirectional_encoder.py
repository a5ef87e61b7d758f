"""A bidirectional transformer encoder as a plain PyTorch module, inside a classifier of your own.

Is the first token of a sequence the same as its last? From the first position only a model that looks ahead can tell.

python examples/bidirectional_encoder.py --steps 300
"""

import argparse

import torch
from torch import nn

from sensorium import TransformerConfig
from sensorium.nn.transformer import Transformer

VOCABULARY, LENGTH = 4, 12


class FirstEqualsLast(nn.Module):
    """Reads the state of the first position only."""

    def __init__(self) -> None:
        super().__init__()
        config = TransformerConfig(
            vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_positions=LENGTH, causal=False
        )
        self.encoder = Transformer(config)
        self.encoder.reset_parameters()
        self.head = nn.Linear(config.dim, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(tokens)[:, 0])  # (batch, time, dim) -> (batch, 2)


def sample(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(VOCABULARY, (n, LENGTH))
    same = torch.rand(n) < 0.5
    tokens[same, -1] = tokens[same, 0]
    return tokens, (tokens[:, 0] == tokens[:, -1]).long()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = FirstEqualsLast()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(options.steps):
        tokens, labels = sample(64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(tokens), labels).backward()
        optimizer.step()
    tokens, labels = sample(1000)
    print(f"accuracy on unseen sequences: {(model(tokens).argmax(-1) == labels).float().mean():.3f}")


if __name__ == "__main__":
    main()
