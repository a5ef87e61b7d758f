"""Where each code of a picture stands: codes follow one another in a line, and a picture has rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.config import ImageCodes
from sensorium.nn.init import ZeroTable


class CodePlaces(nn.Module):
    """Vectors of the row and of the column of each code of a picture, to be added to the code's own."""

    def __init__(self, config: ImageCodes, dim: int) -> None:
        super().__init__()
        self.first, self.stop = config.ids.start, config.ids.stop
        self.rows, self.columns = config.grid
        self.row = ZeroTable(self.rows, dim)
        self.column = ZeroTable(self.columns, dim)

    def forward(self, input_ids: Tensor, run: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of a batch, (batch, time, dim), zero where no code of a picture stands; and the new `run`.

        Args:
            input_ids: (batch, time) token ids.
            run: (batch,) codes in a row that came right before, in what was read earlier.
        """
        is_code = (input_ids >= self.first) & (input_ids < self.stop)
        count = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device).expand_as(input_ids)
        begun = torch.where(is_code, -run[:, None], count).cummax(dim=1).values  # where the run at hand began
        length = count - begun  # of the run up to here, 0 behind anything else
        place = (length - 1).clamp_min(0) % (self.rows * self.columns)
        vectors = self.row(place // self.columns) + self.column(place % self.columns)
        return vectors * is_code[..., None], length[:, -1]
