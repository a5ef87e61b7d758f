"""Pictures and speech out: how fast a model draws, and how soon and how fast it speaks.

    python benchmarks/making.py                      # the shipped seedling, one thread
    python benchmarks/making.py --model runs/mine/model --set image_candidates=8

A picture is timed from its request to the PNG, with the model's own settings, which may ask for several drafts, and
as a single draft without guidance; image tokens are those of all drafts. A change of a picture is timed from being
shown the picture, which the model first looks over, where it takes notes. Speech is timed from its text: to the first
sound that could be played, and in all, decoder and vocoder together, over the seconds of sound (the real-time
factor). Medians of `--rounds`, after one round to warm up; the decoding step is compiled before, where there is a
compiler. No peer of this size draws or speaks, so figures stand beside their targets: a 64×64 picture within a
second, a real-time factor below 0.3, sound within 300 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

import sensorium
from sensorium.messages import AudioDelta

REQUESTS = ("Draw two red apples.", "画一只蓝色的猫。", "Draw a yellow house on a snowy day.")
CHANGES = ("Add a yellow house.", "再画一只蓝色的猫。", "Make it a rainy night.")
TEXTS = ("It is sunny today, and there are two red apples.", "今天天气很好，图里有一只蓝色的猫。")
TARGETS = {"picture_s": 1.0, "real_time_factor": 0.3, "first_sound_ms": 300.0}


def drawing(model: sensorium.Model, rounds: int, settings: dict[str, float]) -> dict[str, Any]:
    """Seconds of a picture, and what that means in codes."""
    codec = model.config.image_codec
    assert codec is not None
    own = model._pretrained.sampling.model_dump() | settings
    seconds, alone = (
        _median_seconds(model, rounds, chosen)
        for chosen in (settings, settings | {"image_candidates": 1, "image_guidance": 0.0})
    )
    shown = [  # one for each round, as what was looked over once is remembered
        model.draw(REQUESTS[index % len(REQUESTS)], seed=index, image_candidates=1) for index in range(rounds + 1)
    ]
    changed = _median_seconds(model, rounds, settings, CHANGES, shown)
    drafts = own["image_candidates"] if own["image_look"] else 1
    return {
        "picture_s": round(seconds, 3),
        "pictures_per_s": round(1 / seconds, 2),
        "image_tokens_per_s": round(drafts * codec.n_codes / seconds, 1),
        "drafts": drafts,
        "guidance": own["image_guidance"],
        "single_draft_s": round(alone, 3),
        "change_s": round(changed, 3),
        "change_drafts": (own["image_edit_candidates"] or own["image_candidates"]) if own["image_look"] else 1,
        "size": list(codec.size),
    }


def _median_seconds(
    model: sensorium.Model,
    rounds: int,
    settings: dict[str, float],
    requests: Sequence[str] = REQUESTS,
    shown: Sequence[Any] = (None,),
) -> float:
    taken = []
    for index in range(rounds + 1):
        before = shown[index % len(shown)]
        begun = time.perf_counter()
        model.draw(requests[index % len(requests)], image=before, seed=index, **settings)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def speaking(model: sensorium.Model, rounds: int) -> dict[str, Any]:
    """The real-time factor, and milliseconds to the first sound."""
    factors, first = [], []
    for index in range(rounds + 1):
        begun = time.perf_counter()
        sound, began = 0.0, None
        for delta in model.stream_speech(TEXTS[index % len(TEXTS)], seed=index):
            if isinstance(delta, AudioDelta):
                began = began if began is not None else time.perf_counter() - begun
                sound += len(delta.pcm16) / 2 / delta.sample_rate
        factors.append((time.perf_counter() - begun) / sound)
        assert began is not None
        first.append(1000 * began)
    return {
        "real_time_factor": round(statistics.median(factors[1:]), 3),
        "first_sound_ms": round(statistics.median(first[1:]), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="seedling")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="another image_… setting")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = sensorium.load(arguments.model, threads=arguments.threads)
    compiled = model._engine.compile()
    settings = {name: json.loads(value) for name, _, value in (each.partition("=") for each in arguments.set)}
    figures = drawing(model, arguments.rounds, settings) | speaking(model, arguments.rounds)
    result = {
        "benchmark": "making",
        "model": arguments.model,
        "parameters": sum(model._pretrained.model.n_parameters().values()),
        **figures,
        "targets": TARGETS,
        "met": {name: figures[name] <= target for name, target in TARGETS.items()},
        "compiled": compiled,
        "threads": arguments.threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
