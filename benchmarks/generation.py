"""Pictures code by code and in one pass, trained alike: how well each draws what is asked, and how quickly.

    python benchmarks/generation.py --codec FOLDER [--minutes 5] [--quick] [--decoder seedling] [--sheet FILE.png]

Both ways begin with the same model and learn, for as many minutes, from the same requests of the generated world:
things on paper, asked for in English and Chinese. The autoregressive way writes the codes of the image codec of
FOLDER, which stays as it is, and teaches the decoder to; the painter, a conditional GAN, is taught on the state that
the decoder has of a request, and so is the decoder, unless `--freeze`. `--quick` asks for one thing at a time.

Judged are pictures of requests that nobody trained on, by classical vision that shares nothing with either
(`sensorium.evaluation.picture_reading`): of pairs of a colour and a kind that were trained on, and of pairs held out.
Beside them stand the true pictures, what the codec makes of those (the most that the autoregressive way can reach),
and true pictures of other requests (the least). Speed is of one picture at a time, from words to PNG, on one thread,
by the time of the CPU.

Writes `generation.json` below `--out` and prints one JSON line. What was made or trained already is not done again;
for other settings, take another folder.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

import sensorium
from sensorium.config import PainterConfig
from sensorium.data.world.settings import WorldSpec
from sensorium.data.world.sheet import contact_sheet
from sensorium.data.world.source import World
from sensorium.data.world.splits import Split
from sensorium.data.world.talk import Talk
from sensorium.errors import SensoriumError
from sensorium.evaluation.picture_reading import picture_score, read_picture
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.pretrained import coding
from sensorium.inference.generators import Generator
from sensorium.messages import Image, Message, Text
from sensorium.processing.processor import Processor
from sensorium.train import Recipe, train
from sensorium.train.start import first_model, prepare_processor

Pixels = NDArray[np.uint8]
TINY = {"dim": 128, "n_layers": 3, "n_heads": 4, "hidden_dim": 320, "max_positions": 256, "qk_norm": True}
TINY_WORDS = 768
SCORES = ("share", "right", "count", "colour", "kind", "thing")
TEST_NUMBER = 10_000_000  # requests from here on are for tests: training never comes so far
TIMED = 16


@dataclass(frozen=True)
class Request:
    """What is asked for, a picture that would be right, and the sketch in words that it is drawn by."""

    messages: tuple[Message, ...]
    facts: dict[str, Any]
    sketch: str
    picture: Pixels

    @property
    def words(self) -> str:
        """The request."""
        return self.messages[-1].text


def requests(split: Split, options: argparse.Namespace, first: int = 0) -> Iterator[Request]:
    """Written requests for things on paper, from the world's talk number `first` on."""
    world = World(WorldSpec(kinds={"draw": 1.0}, languages=tuple(options.languages)), split)
    for index in count(first):
        talk = world.talk(index)
        if wanted(talk, options):
            *asked, answer = world.realise(talk, index)
            (picture,) = (part for part in answer.parts if isinstance(part, Image))
            yield Request(tuple(asked), dict(talk.facts), answer.text, pixels_of(picture))


def wanted(talk: Talk, options: argparse.Namespace) -> bool:
    n_things = sum(number for number, *_ in talk.facts["things"])
    one_request = len(talk.turns) == 2 and bool(talk.turns[0].text)
    return talk.facts["weather"] is None and one_request and (n_things == 1 or not options.quick)


def pixels_of(part: Any) -> Pixels:
    return np.asarray(Picture.open(io.BytesIO(part.data)).convert("RGB"))


def make_data(options: argparse.Namespace) -> Path:
    """What both train on, drawn once: JSONL beside PNG files."""
    folder: Path = options.out / "data"
    if not (folder / "talks.jsonl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for number, request in enumerate(islice(requests("train", options), options.records)):
            Picture.fromarray(request.picture).save(folder / f"{number:06d}.png")
            drawn = Message.assistant([Text(request.sketch), Image(path=Path(f"{number:06d}.png"))])
            talk = [*request.messages, drawn]
            lines.append(json.dumps({"messages": [message.to_dict() for message in talk]}, ensure_ascii=False))
        (folder / "talks.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_start(options: argparse.Namespace, data: Path) -> Path:
    """The model that both ways begin with: a decoder, the trained codec, and a painter that knows nothing."""
    folder: Path = options.out / "start"
    if folder.exists():
        return folder
    codec = load_pretrained(options.codec).model
    if codec.config.image_codec is None:
        raise SystemExit(f"{options.codec} has no image codec (train one: objective image_codec)")
    parts = {"image_codec": codec.config.image_codec, "painter": PainterConfig(size=codec.config.image_codec.size)}
    specs = [{"path": str(data)}]
    if options.decoder == "tiny":
        begun: dict[str, Any] = {"model": TINY, "tokenizer": {"vocab_size": TINY_WORDS, "data": specs}}
    else:
        begun = {"init": options.decoder}
    recipe = Recipe.parse({**begun, **parts, "stages": [{"data": specs, "time": 8, "budget": {"steps": 1}}]}, "start")
    prepare_processor(recipe, options.out)
    processor = Processor.load(options.out)
    model = first_model(recipe, processor, torch.device("cpu"))
    assert model.model.image_codec is not None
    model.model.image_codec.load_state_dict(codec.image_codec.state_dict())
    model.processor = coding(processor, model.model)
    save_pretrained(model, folder)
    return folder


def stage_of(way: str, options: argparse.Namespace) -> dict[str, Any]:
    """How each way learns; all that is no part of it stays as it is."""
    if way == "autoregressive":
        return {
            "objective": "chat",
            "rows": 8,
            "time": 256,
            "optimizer": "muon",
            "lr": 0.01,
            "weight_decay": 0.02,
            "moves": ("decoder.",),
        }
    return {
        "objective": "painter",
        "rows": 32,
        "time": 128,
        "lr": 2e-3,
        "betas": [0.5, 0.99],
        "weight_decay": 0.0,
        "adversary": options.adversary,
        "tries": options.tries,
        "ema": 0.98,
        "lr_scale": {} if options.freeze else {"decoder.*": 0.25},
        "moves": ("painter.",) if options.freeze else ("painter.", "decoder."),
    }


def trained(way: str, start: Path, data: Path, options: argparse.Namespace) -> Path:
    """The run of one way."""
    folder: Path = options.out / way
    stage = stage_of(way, options)
    moves = stage.pop("moves")
    weights = load_pretrained(start).model.state_dict()
    frozen = sorted({name.partition(".")[0] + ".*" for name in weights if not name.startswith(moves)})
    stage |= {"data": [{"path": str(data)}], "budget": {"minutes": options.minutes}, "schedule": "wsd", "decay": 0.4}
    stage |= {"freeze": frozen, "eval_every": 0, "save_every": 10_000, "log_every": 10}
    recipe = Recipe.parse({"name": way, "init": str(start), "save_dtype": "float32", "stages": [stage]}, way)
    train(recipe, folder, device=options.device, threads=options.threads)
    return folder


def progress(folder: Path) -> dict[str, Any]:
    """How far a run went."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if line["event"] == "step"]
    return {"steps": steps[-1]["step"], "train_minutes": round(steps[-1]["seconds"] / 60, 2)}


def judged(pictures: Sequence[Pixels], asked: Sequence[Request]) -> dict[str, float]:
    """The means of what the judge sees."""
    scores = [picture_score(read_picture(each), request.facts) for each, request in zip(pictures, asked, strict=True)]
    return {name: round(mean(score[name] for score in scores), 4) for name in SCORES}


def made(generator: Generator, asked: Sequence[Request]) -> list[Pixels]:
    return [pixels_of(generator.generate(each.messages, seed=seed)[0]) for seed, each in enumerate(asked)]


def speed(generator: Generator, asked: Sequence[Request]) -> float:
    """Pictures a second of this process's time, one at a time: what else the machine does then does not matter."""
    generator.generate(asked[0].messages, seed=0)
    started = time.process_time()
    for seed, each in enumerate(asked[:TIMED]):
        generator.generate(each.messages, seed=seed)
    return len(asked[:TIMED]) / (time.process_time() - started)


def through_codec(model: sensorium.Model) -> Callable[[Pixels], Pixels]:
    """What is left of a picture when it has been codes."""
    codecs = model.processor.codecs
    assert codecs is not None

    def passed(picture: Pixels) -> Pixels:
        stream = io.BytesIO()
        Picture.fromarray(picture).save(stream, "PNG")
        return pixels_of(Image(data=codecs.picture(codecs.picture_ids(Image(data=stream.getvalue())).tolist())))

    return passed


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """Train both ways, and judge and time what they draw."""
    data = make_data(options)
    start = make_start(options, data)
    asked = {
        "seen_pairs": list(islice(requests("train", options, TEST_NUMBER), options.limit)),
        "held_out_pairs": list(islice(requests("validation", options), options.limit)),
    }
    truth = {name: [each.picture for each in some] for name, some in asked.items()}
    coded = through_codec(sensorium.load(start, threads=1))
    drawn = {"through_codec": {name: [*map(coded, truth[name])] for name in asked}}
    report: dict[str, Any] = {
        "true_picture": {name: judged(truth[name], some) for name, some in asked.items()},
        "through_codec": {name: judged(drawn["through_codec"][name], some) for name, some in asked.items()},
        "another_picture": {name: judged([*truth[name][1:], truth[name][0]], some) for name, some in asked.items()},
    }
    for way in ("autoregressive", "gan"):
        folder = trained(way, start, data, options)
        torch.set_num_threads(1)
        generator = sensorium.load(folder / "model", threads=1).generator(way)
        drawn[way] = {name: made(generator, some) for name, some in asked.items()}
        report[way] = {name: judged(drawn[way][name], some) for name, some in asked.items()}
        rate = speed(generator, asked["seen_pairs"])
        report[way] |= progress(folder) | {"pictures_per_second": round(rate, 2)}
        print(f"{way}: {json.dumps(report[way])}", file=sys.stderr)
    if options.sheet is not None:
        draw_sheet(asked, drawn, options.sheet)
    ways = report["gan"], report["autoregressive"]
    report["gan_to_autoregressive"] = {
        "speed": round(ways[0]["pictures_per_second"] / ways[1]["pictures_per_second"], 1),
        "share": {name: round(ways[0][name]["share"] / max(ways[1][name]["share"], 1e-9), 3) for name in asked},
    }
    return report


def draw_sheet(asked: dict[str, list[Request]], drawn: dict[str, dict[str, list[Pixels]]], path: Path) -> None:
    """True pictures and what the codec makes of them; below, those drawn code by code and in one pass."""
    rows, captions = [], []
    for name, some in asked.items():
        for index, request in enumerate(some[:24]):
            above = np.concatenate([request.picture, drawn["through_codec"][name][index]], axis=1)
            below = np.concatenate([drawn["autoregressive"][name][index], drawn["gan"][name][index]], axis=1)
            rows.append(np.concatenate([above, below]))
            captions.append(f"{name.replace('_', ' ')}: {request.words}")
    contact_sheet(rows, captions, path, columns=8)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--codec", required=True, help="a model folder or name with a trained image codec")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each way")
    parser.add_argument("--decoder", default="seedling", help="a model to begin with, or `tiny` for a fresh small one")
    parser.add_argument("--quick", action="store_true", help="one thing at a time")
    parser.add_argument("--freeze", action="store_true", help="the painter's decoder stays as it is")
    parser.add_argument("--adversary", type=float, default=1.0, help="its share in what moves the painter; 0: none")
    parser.add_argument("--tries", type=int, default=4, help="paintings of which the nearest learns")
    parser.add_argument("--languages", nargs="+", default=["en", "zh"])
    parser.add_argument("--records", type=int, default=4000, help="requests to train on")
    parser.add_argument("--limit", type=int, default=100, help="requests of each sort to judge")
    parser.add_argument("--threads", type=int, default=2, help="to train on")
    parser.add_argument("--device", default="cpu", help="to train on")
    parser.add_argument("--sheet", type=Path, default=None, help="a PNG file to show pictures in")
    parser.add_argument("--out", type=Path, default=Path("runs/generation"))
    options = parser.parse_args(arguments)
    try:
        results = compared(options)
    except SensoriumError as error:  # Ctrl-C too, after a checkpoint
        raise SystemExit(str(error)) from None
    settings = ("minutes", "decoder", "quick", "freeze", "adversary", "tries", "languages", "records", "limit")
    report = {
        "benchmark": "generation",
        **{name: getattr(options, name) for name in (*settings, "threads")},
        "ways": results,
    }
    (options.out / "generation.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
