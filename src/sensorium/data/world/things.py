"""The words of the generated world: what can be in a picture, by English ids."""

from __future__ import annotations

KINDS = (
    "apple",
    "ball",
    "cat",
    "dog",
    "fish",
    "bird",
    "tree",
    "flower",
    "house",
    "car",
    "boat",
    "star",
    "cup",
    "hat",
    "key",
    "umbrella",
)
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 34, 40),
    "orange": (247, 128, 20),
    "yellow": (250, 212, 30),
    "green": (46, 158, 68),
    "blue": (38, 92, 208),
    "purple": (126, 52, 172),
    "pink": (246, 138, 190),
    "brown": (122, 76, 42),
}
# The longer side of a thing's box, as a share of the picture's side.
SIZES: dict[str, tuple[float, float]] = {"small": (0.2, 0.26), "large": (0.34, 0.42)}
TEXTURES = ("plain", "striped", "dotted")

WEATHERS = ("sunny", "cloudy", "rain", "snow", "storm")
TIMES = ("day", "night")

# Row by row, three by three: where the centre of a box lies.
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")

# Pale papers that things lie on, and the grounds below a sky.
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (252, 252, 250),
    "cream": (251, 244, 226),
    "grey": (232, 232, 234),
    "mint": (228, 244, 234),
    "ice": (226, 238, 250),
    "lilac": (238, 232, 248),
    "rose": (250, 234, 236),
}
GROUNDS: dict[str, tuple[int, int, int]] = {
    "meadow": (196, 220, 166),
    "sand": (236, 220, 182),
    "street": (206, 206, 208),
    "hills": (208, 222, 190),
}

THEMES = ("things", "sky", "digits", "mixed")
MAX_COUNT = 5
MAX_DIGITS = 3
