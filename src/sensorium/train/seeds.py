"""Seeds for each purpose, derived from the run's one seed, so that no two purposes draw the same numbers."""

from __future__ import annotations

import hashlib


def derive(*parts: int | str) -> int:
    """A seed below 2⁶³ from any parts, the same everywhere and at all times."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
