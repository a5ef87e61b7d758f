"""Training: recipes in, model folders out, through one loop for every stage."""

from sensorium.train.callbacks import Callback
from sensorium.train.recipe import Recipe, load_recipe
from sensorium.train.run import train

__all__ = ["Callback", "Recipe", "load_recipe", "train"]
