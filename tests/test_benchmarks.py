"""What benchmarks ask for is what they can use."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np

from sensorium.data.world.talk import lexicon

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # data classes look their module up
    spec.loader.exec_module(module)
    return module


def test_both_ways_of_drawing_learn_from_one_request_its_sketch_and_its_picture() -> None:
    generation = benchmark("generation")
    options = argparse.Namespace(languages=["en"], quick=False)
    for request in islice(generation.requests("train", options), 20):
        assert request.picture.shape == (64, 64, 3)
        assert request.picture.dtype == np.uint8
        asked = {f"{number} {colour} {kind}" for number, colour, kind in request.facts["things"]}
        assert lexicon.attributes(request.words, "en") == asked
        assert request.sketch.count("<loc") == 4 * sum(number for number, *_ in request.facts["things"])
        assert len(request.messages) == 1
