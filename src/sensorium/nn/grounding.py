"""What stands where in a picture, told by each of its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.nn.init import draw_weights
from sensorium.nn.linear import apply_linear


class Grounding(nn.Module):
    """Each feature chooses among words, or says that none fits, and draws a box around what stands at its place.

    Features are the squares of a grid, row by row. What is told is float32, whatever the features are.
    """

    def __init__(self, features_dim: int, words_dim: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.word = nn.Linear(features_dim, words_dim)
        self.nothing = nn.Linear(features_dim, 1)
        self.edges = nn.Linear(features_dim, 4)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw fresh weights."""
        draw_weights(self, generator)

    def forward(self, features: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """What stands where, of features (n, places, features_dim) and embeddings of words (w, words_dim).

        Returns:
            Scores (n, places, 1 + w), those of nothing first; boxes (n, places, 4), x0, y0, x1 and y1 in 0..1 of the
            picture's width and height.
        """
        with torch.autocast(features.device.type, enabled=False):  # an edge needs all its digits
            features, words = features.float(), words.float()
            scores = torch.cat((apply_linear(self.nothing, features), apply_linear(self.word, features) @ words.T), -1)
            return scores, self._middles(features.device) + self._outward(features.device) * apply_linear(
                self.edges, features
            )

    def _middles(self, device: torch.device) -> Tensor:
        """(places, 4) the middle of each place, twice: where an edge at distance 0 would be."""
        along = (torch.arange(self.grid, device=device) + 0.5) / self.grid
        y, x = torch.meshgrid(along, along, indexing="ij")
        return torch.stack((x, y, x, y), -1).flatten(0, 1)

    def _outward(self, device: torch.device) -> Tensor:
        """(4,) what a side of a place counts in each edge's direction."""
        return torch.tensor((-1.0, -1.0, 1.0, 1.0), device=device) / self.grid
