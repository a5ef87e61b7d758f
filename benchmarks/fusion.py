"""Four ways of fusing what is seen, heard and read, trained alike: what each gets right when all agree, and when not.

    python benchmarks/fusion.py [--minutes 3] [--seeds 0] [--threads 2] [--records 4000] [--limit 200] [--out DIR]

Each strategy is trained from nothing by `sensorium.train`, on the same conversations of the generated world in the same
order, with the same tokenizer, as many parameters (within 2%) and as many minutes. The decoder's blocks are as wide
inside as it takes: early fusion has no encoders, and spends theirs on the decoder; cross fusion spends some of the
decoder's on its layers. Then each answers held-out conversations: a picture, a voice and a text state the same thing;
one of them is missing; one contradicts the other two, and right is what those two say; and talk about the weather, in
which an answer may have to state its doubt. Chance is the answer most frequent among them.

Writes `fusion.md` (a table), `fusion.png` (a plot) and `fusion.json` below `--out` and prints one JSON line. What was
made, trained or answered already is not done again: after Ctrl-C, the same command goes on. For other settings, take
another folder.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
import torch

import sensorium
from sensorium.config import ModelConfig
from sensorium.data.world.export import export
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.source import World
from sensorium.data.world.talk import LANGUAGES, Language
from sensorium.errors import SensoriumError
from sensorium.evaluation.world_metrics import same_weather
from sensorium.nn.omni import Omni
from sensorium.train import Recipe, train

STRATEGIES: dict[str, dict[str, Any]] = {
    "early": {"strategy": "early"},
    "feature": {"strategy": "feature"},
    "cross": {"strategy": "cross", "every": 2},
    "decision": {"strategy": "decision", "combine": "gates"},
    "vote": {"strategy": "decision", "combine": "vote"},
}
CONDITIONS = {  # what is asked, and the talk of the world that asks it
    "all": "fuse_agree",
    "no picture": "fuse_no_picture",
    "no voice": "fuse_no_voice",
    "no text": "fuse_no_text",
    "contradict": "fuse_contradict",
    "weather": "weather",
}
TRAINED = {
    "fuse": 4.0,
    "fuse_agree": 1.0,
    "fuse_no_picture": 1.0,
    "fuse_no_voice": 1.0,
    "fuse_no_text": 1.0,
    "weather": 2.0,
}
VOCABULARY, WINDOW, SIDE = 768, 12, 64  # tokens, seconds of sound, pixels
DECODER = {"dim": 128, "n_layers": 4, "n_heads": 4, "max_positions": 512, "qk_norm": True, "tie_embeddings": True}
TARGET_RATIO = 2.5  # how much wider than the decoder its MLPs would best be, where the parameters allow it
TOLERANCE = 0.02


def parts(strategy: str) -> dict[str, Any]:
    """Eyes, ears and fusion of a strategy, as a recipe writes them."""
    image, audio = {"size": [SIDE, SIDE], "resize": "stretch"}, {"window_seconds": WINDOW}
    joint = {"kind": "pixel_shuffle", "factor": 2, "norm": True}
    if strategy == "early":
        eyes: dict[str, Any] = {"kind": "patches", "image_size": SIDE, "patch_size": 8}
        ears: dict[str, Any] = {"kind": "frames", "stack": 4, "max_frames": WINDOW * 100}
    else:
        eyes = {"kind": "resnet", "image_size": SIDE, "stem": "small", "stem_dim": 24, "dims": [32, 64, 128]}
        eyes |= {"depths": [1, 1, 1], "block": "basic", "downsample_in_first_stage": True}
        ears = {"kind": "conv", "dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 384, "strides": [2, 2]}
        ears |= {"max_frames": WINDOW * 100}
    return {
        "vision": {"image": image, "encoder": eyes, "projector": joint | {"positions": True}},
        "speech": {"audio": audio, "encoder": ears, "projector": joint},
        "fusion": STRATEGIES[strategy],
    }


def n_parameters(strategy: str, n_layers: int, hidden_dim: int) -> int:
    """Of the whole model, counted without any memory for them."""
    decoder = DECODER | {"n_layers": n_layers, "hidden_dim": hidden_dim, "vocab_size": VOCABULARY}
    with torch.device("meta"):
        model = Omni(ModelConfig.parse({"decoder": decoder} | parts(strategy), strategy))
    return sum(weight.numel() for weight in model.parameters())


def sized(strategy: str, target: int) -> tuple[dict[str, Any], int]:
    """The decoder of a strategy whose whole model has `target` parameters, and how many it has exactly.

    Of the numbers of layers, that one is taken which leaves the MLPs nearest to their best width.
    """
    found = []
    for n_layers in (4, 6, 8, 10):
        few, more = n_parameters(strategy, n_layers, 64), n_parameters(strategy, n_layers, 72)
        hidden = 64 + 8 * round((target - few) / (more - few))
        if hidden >= 8:
            strangeness = abs(math.log(hidden / (TARGET_RATIO * DECODER["dim"])))
            found.append((strangeness, DECODER | {"n_layers": n_layers, "hidden_dim": hidden}))
    _, decoder = min(found, key=lambda each: each[0])
    return decoder, n_parameters(strategy, decoder["n_layers"], decoder["hidden_dim"])


def make_data(options: argparse.Namespace) -> None:
    """The conversations that all train on, drawn and spoken once: doing that costs more than a step of training."""
    folder = options.out / "data"
    if folder.exists():
        return
    world = World(WorldSpec(kinds=TRAINED, languages=options.languages, size=SIDE), "train")
    draft = options.out / ".data"
    shutil.rmtree(draft, ignore_errors=True)
    export(world, options.records, draft)
    draft.rename(folder)


def recipe_of(strategy: str, decoder: Mapping[str, Any], seed: int, options: argparse.Namespace) -> Recipe:
    """The whole run of one strategy; all but the model is the same for each."""
    data = [{"path": str(options.out / "data")}]
    return Recipe.parse(
        {
            "name": strategy,
            "seed": seed,
            "model": {**decoder, "vocab_size": VOCABULARY},
            **parts(strategy),
            "tokenizer": {"vocab_size": VOCABULARY, "data": data},
            "save_dtype": "float32",
            "stages": [
                {
                    "objective": "chat",
                    "data": data,
                    "validation": [],
                    "rows": options.rows,
                    "time": 384,
                    "budget": {"minutes": options.minutes},
                    "optimizer": "muon",
                    "lr": 0.01,
                    "weight_decay": 0.02,
                    "schedule": "wsd",
                    "decay": 0.4,
                    "workers": options.workers,
                    "eval_every": 0,
                    "save_every": 100,
                }
            ],
        },
        f"fusion {strategy}",
    )


def asked(kind: str, languages: tuple[Language, ...], limit: int) -> Iterator[tuple[Any, str, str]]:
    """Held-out conversations of a kind: the messages up to the answer, the answer, and the language."""
    world = World(WorldSpec(kinds={kind: 1.0}, languages=languages, size=SIDE), "validation")
    for index in range(limit):
        talk = world.talk(index)
        messages = world.realise(talk, index)
        yield messages[:-1], talk.answer, talk.language


def is_right(condition: str, answer: str, reference: str, language: str) -> bool:
    """Of the weather what is said counts, and not the wording; elsewhere what is concluded, in the same words."""
    if condition == "weather":
        return same_weather(answer, reference, language) == 1.0
    concluded = (re.split("[:：]", text)[-1].strip().casefold() for text in (answer, reference))
    return len(set(concluded)) == 1


def answered(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """The share of right answers of a trained model, per condition; kept beside it."""
    kept = folder / f"answers-{options.limit}.json"
    if kept.exists():
        found: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    model = sensorium.load(folder / "model", threads=options.threads)
    shares = {}
    for condition, kind in CONDITIONS.items():
        right = [
            is_right(condition, model.chat(messages, temperature=0.0, max_tokens=48).text, reference, language)
            for messages, reference, language in asked(kind, options.languages, options.limit)
        ]
        shares[condition] = mean(right)
    kept.write_text(json.dumps(shares), encoding="utf-8")
    return shares


def chances(options: argparse.Namespace) -> dict[str, float]:
    """The share of the most frequent answer of each condition."""
    found = {}
    for condition, kind in CONDITIONS.items():
        world = World(WorldSpec(kinds={kind: 1.0}, languages=options.languages, size=SIDE), "validation")
        answers = Counter(world.talk(index).answer for index in range(options.limit))
        found[condition] = answers.most_common(1)[0][1] / options.limit
    return found


def progress(folder: Path) -> dict[str, Any]:
    """How far a run went: its steps, and the mean loss of the last of them."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if line["event"] == "step"]
    return {
        "steps": steps[-1]["step"],
        "minutes": round(steps[-1]["seconds"] / 60, 2),
        "loss": round(mean(line["loss"] for line in steps[-10:]), 3),
    }


def table(results: Mapping[str, Mapping[str, Any]], chance: Mapping[str, float], options: argparse.Namespace) -> str:
    """Markdown: a row per strategy, its accuracies in per cent."""
    n = options.limit * len(options.seeds)
    lines = [
        f"Right answers in per cent, on {n} held-out conversations of each sort (standard error at most "
        f"{50 / math.sqrt(n):.1f}), after {options.minutes:g} minutes of training from nothing on {options.threads} "
        f"threads, by {options.records:,} conversations. Languages: {', '.join(options.languages)}.",
        "",
        "| strategy | parameters | steps | " + " | ".join(CONDITIONS) + " |",
        "|---" * (len(CONDITIONS) + 3) + "|",
    ]
    for name, result in results.items():
        shares = " | ".join(f"{100 * result['accuracy'][condition]:.1f}" for condition in CONDITIONS)
        lines.append(f"| {name} | {result['parameters']:,} | {result['steps']:,} | {shares} |")
    shares = " | ".join(f"{100 * chance[condition]:.1f}" for condition in CONDITIONS)
    lines.append(f"| most frequent answer | | | {shares} |")
    return "\n".join(lines) + "\n"


def plot(results: Mapping[str, Mapping[str, Any]], chance: Mapping[str, float], path: Path) -> None:
    """A group of bars per condition, a bar per strategy, and a line where the most frequent answer stands."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    width = 0.8 / len(results)
    for index, (name, result) in enumerate(results.items()):
        places = [place - 0.4 + (index + 0.5) * width for place in range(len(CONDITIONS))]
        axes.bar(places, [100 * result["accuracy"][each] for each in CONDITIONS], width, label=name)
    for place, condition in enumerate(CONDITIONS):
        label = "most frequent answer" if place == 0 else None
        axes.hlines(100 * chance[condition], place - 0.4, place + 0.4, colors="black", linestyles=":", label=label)
    axes.set_xticks(range(len(CONDITIONS)), list(CONDITIONS))
    axes.set_ylim(0, 100)
    axes.set_ylabel("right answers, per cent")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, ncols=6, fontsize="small", loc="outside upper center")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def compared(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Train and ask each strategy with each seed."""
    target = n_parameters("feature", DECODER["n_layers"], round(TARGET_RATIO * DECODER["dim"]))
    chosen = {name: sized(name, target) for name in options.strategies}
    for name, (_, count) in chosen.items():
        assert abs(count / target - 1) <= TOLERANCE, f"{name} has {count} parameters, and the others {target}"
    results: dict[str, dict[str, Any]] = {name: {"parameters": count} for name, (_, count) in chosen.items()}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    make_data(options)
    vocabularies = set()
    for seed in options.seeds:
        for name, (decoder, _) in chosen.items():
            folder = options.out / f"{name}-{seed}"
            train(recipe_of(name, decoder, seed, options), folder, device=options.device, threads=options.threads)
            vocabularies.add((seed, (folder / "model" / "tokenizer.json").read_bytes()))
            runs[name].append({**progress(folder), "accuracy": answered(folder, options)})
            print(f"{name}, seed {seed}: {json.dumps(runs[name][-1])}", file=sys.stderr)
    assert len(vocabularies) == len(set(options.seeds)), "the strategies were given different tokenizers"
    for name, made in runs.items():
        results[name] |= {key: round(mean(run[key] for run in made), 3) for key in ("minutes", "loss")}
        results[name]["steps"] = round(mean(run["steps"] for run in made))
        results[name]["decoder"] = {key: chosen[name][0][key] for key in ("n_layers", "hidden_dim")}
        results[name]["accuracy"] = {
            condition: round(mean(run["accuracy"][condition] for run in made), 4) for condition in CONDITIONS
        }
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, for each strategy and seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=["en"])
    parser.add_argument("--limit", type=int, default=200, help="held-out conversations of each sort")
    parser.add_argument("--records", type=int, default=4000, help="conversations to train on")
    parser.add_argument("--rows", type=int, default=8, help="rows of 384 tokens in a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, choices=(0, 1), default=0, help="processes that make the data")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/fusion"))
    options = parser.parse_args(arguments)
    options.languages = tuple(options.languages)
    torch.set_num_threads(options.threads)
    try:
        results = compared(options)
    except SensoriumError as error:  # Ctrl-C too, after a checkpoint
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("stopped: the same command goes on") from None
    chance = chances(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "fusion.md").write_text(table(results, chance, options), encoding="utf-8")
    plot(results, chance, options.out / "fusion.png")
    report = {
        "benchmark": "fusion",
        "minutes": options.minutes,
        "threads": options.threads,
        "seeds": options.seeds,
        "languages": options.languages,
        "records": options.records,
        "items": options.limit,
        "most_frequent": chance,
        "strategies": results,
    }
    (options.out / "fusion.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
