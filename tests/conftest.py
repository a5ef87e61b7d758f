"""What tests of several rooms share: a small model that was really trained, and the real data."""

import importlib.util
import itertools
import json
import os
from pathlib import Path

import hypothesis
import numpy as np
import PIL.Image
import pytest
import soundfile

# The same examples on every run, and no clock: a busy machine is no reason to fail.
hypothesis.settings.register_profile("house", derandomize=True, deadline=None)
hypothesis.settings.load_profile("house")

# Twenty kinds of talk, each with a reply of its own: what the small model is taught by heart.
THINGS = ("cat", "dog", "bird", "fish", "bear", "frog", "duck", "goat", "lion", "mouse")
COLOURS = ("red", "blue", "green", "white", "brown")


def small_talk() -> list[dict[str, list[dict[str, str]]]]:
    """Conversations that a model of a few thousand weights can learn in seconds."""
    pairs = [("Hello!", "Hello to you!"), ("Bye.", "See you soon.")]
    for index, thing in enumerate(THINGS):
        colour = COLOURS[index % len(COLOURS)]
        pairs += [(f"What is a {thing}?", f"A {thing} is {colour}."), (f"Call the {thing}.", f"Come here, {thing}!")]
    return [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in pairs
    ]


@pytest.fixture(scope="session")
def talk_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small talk as JSONL."""
    path = tmp_path_factory.mktemp("talk") / "talk.jsonl"
    path.write_text("".join(json.dumps(conversation) + "\n" for conversation in small_talk()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory, talk_file: Path) -> Path:
    """The folder of a tiny chat model that knows the small talk by heart."""
    from sensorium.train import Recipe, train

    data = [{"path": str(talk_file)}]
    recipe = Recipe.parse(
        {
            "name": "talker",
            "seed": 3,
            "model": {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96, "max_positions": 96},
            "tokenizer": {"vocab_size": 420, "data": data},
            "save_dtype": "float32",
            "stages": [
                {
                    "objective": "chat",
                    "data": data,
                    "rows": 4,
                    "time": 96,
                    "lr": 1e-2,
                    "weight_decay": 0.0,
                    "budget": {"steps": 110},
                }
            ],
        },
        "talker",
    )
    return train(recipe, tmp_path_factory.mktemp("runs") / "talker")


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in folders named by their colour, ten of each, no two alike."""
    folder = tmp_path_factory.mktemp("colours")
    dice = np.random.default_rng(0)
    for colour, values in {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}.items():
        (folder / colour).mkdir()
        for number in range(10):
            pixels = np.clip(values + dice.normal(0, 12, (16, 16, 3)), 0, 255).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(folder / colour / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of a third of a second in folders named by how they sound, five of each."""
    folder = tmp_path_factory.mktemp("tones")
    time = np.arange(5_300) / 16_000
    for sound, lowest in {"low": 200, "high": 2_000}.items():
        (folder / sound).mkdir()
        for number in range(5):
            wave = 0.4 * np.sin(2 * np.pi * lowest * (1 + 0.05 * number) * time)
            soundfile.write(folder / sound / f"{number}.wav", wave, 16_000)
    return folder


@pytest.fixture(scope="session")
def onlooker(tmp_path_factory: pytest.TempPathFactory, talk_file: Path, colours: Path, tones: Path) -> Path:
    """The folder of a tiny model that tells colours and tones, in words and in a space common to all three."""
    from sensorium.train import Recipe, train

    talk, seen, heard = ({"path": str(path)} for path in (talk_file, colours, tones))
    blocks = {"dim": 24, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    vision = {
        "image": {"size": [16, 16]},
        "encoder": {"kind": "vit", "image_size": 16, "patch_size": 8, **blocks},
        "projector": {"kind": "linear"},
    }
    speech = {
        "audio": {"n_mels": 16, "window_seconds": 10},
        "encoder": {"kind": "conv", "n_mels": 16, "max_frames": 1000, "strides": [4, 4], **blocks},
        "projector": {"kind": "linear"},
    }
    stage = {"rows": 4, "time": 128, "lr": 1e-2, "weight_decay": 0.0, "eval_every": 0}
    recipe = Recipe.parse(
        {
            "name": "onlooker",
            "seed": 3,
            "model": {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96, "max_positions": 256},
            "vision": vision,
            "speech": speech,
            "embedder": {"dim": 12},
            "tokenizer": {"vocab_size": 420, "data": [talk]},
            "save_dtype": "float32",
            "stages": [
                {**stage, "objective": "chat", "data": [talk, seen, heard], "budget": {"steps": 70}},
                {
                    **stage,
                    "objective": "contrastive",
                    "data": [seen],
                    "rows": 12,
                    "time": 16,
                    "freeze": ["decoder.*", "vision.*", "speech.*"],
                    "budget": {"steps": 40},
                },
            ],
        },
        "onlooker",
    )
    return train(recipe, tmp_path_factory.mktemp("runs") / "onlooker")


@pytest.fixture(scope="session")
def stories() -> list[str]:
    """Short texts with enough order in them for a small model to learn."""
    return [
        f"Once upon a time there was a {colour} {thing}. The {thing} was {colour} and happy."
        for thing, colour in itertools.product(THINGS, COLOURS)
    ]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The local mirror of the sources; without one a test is skipped, but never in CI."""
    mirror = os.environ.get("SENSORIUM_DATA")
    if mirror and Path(mirror).is_dir():
        return Path(mirror)
    if os.environ.get("CI"):
        pytest.fail(f"SENSORIUM_DATA names no folder ({mirror!r}): CI tests read the real sources")
    pytest.skip("SENSORIUM_DATA names no local mirror of the sources")


@pytest.fixture(scope="session")
def world_extra() -> None:
    """The extra `world`; without it a test is skipped, but never in CI."""
    missing = [name for name in ("espeakng_loader", "sklearn") if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} of the extra world is missing: CI tests hear and read the generated world")
    if missing:
        pytest.skip(f"{', '.join(missing)} of the extra world is not installed")
