"""Words in their places: what is read of a reply, the loss written out place by place, and that it is learned."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from media_parts import DECODER, picture, seeing
from pairing import BINS, EARS, EYES, INKS, SEEING, boxed, pairs_file, quarters
from torch import Tensor

import sensorium
from sensorium.config import ModelConfig
from sensorium.data.pairs import PADDING
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train import Callback, load_recipe, train
from sensorium.train.callbacks import ValidationMetrics
from sensorium.train.grounding import BoxReader, GroundedBatch, GroundingObjective
from sensorium.train.objectives import make_objective
from sensorium.train.start import first_model

WRITE = Callable[..., Path]
CPU = torch.device("cpu")


@pytest.fixture
def processor(corpus: Path) -> Processor:
    return Processor(Tokenizer.train([corpus.read_text(encoding="utf-8")], 320).with_locations(BINS))


def built(
    write_recipe: WRITE, processor: Processor, tmp_path: Path, **settings: Any
) -> tuple[GroundingObjective, Omni, Path]:
    data = pairs_file(tmp_path / "boxed.jsonl", [quarters(index) for index in range(24)])
    base = {"objective": "grounding", "rows": 6, "time": 64, "vision": SEEING, "data": [data]}
    path = write_recipe(**{**base, **settings})
    recipe = load_recipe(path)
    model = first_model(recipe, processor, CPU).model.eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
    objective = make_objective(recipe.stages[0], processor.with_config(model.config), model)
    assert isinstance(objective, GroundingObjective)
    return objective, model, path


def batch_of(objective: GroundingObjective, data: str) -> GroundedBatch:
    stream = objective.stream([DatasetSpec.parse({"path": data}, "test")], rows=6, seed=3, repeat=True)
    (batch,) = islice(stream, 1)
    stream.close()
    return objective.prepare(batch, 0)


def test_named_boxes_are_read_of_tokens(processor: Processor) -> None:
    reader = BoxReader(processor)
    ids = reader.tokens(boxed("red apple", 1, 2, 5, 6) + "; " + boxed("杯子", 0, 0, 15, 15) + "; and no box")
    apple, cup = reader.boxes(ids)
    assert processor.tokenizer.decode(apple.name).replace(" ", "") == "redapple"
    assert processor.tokenizer.decode(cup.name) == "杯子"
    assert apple.edges == pytest.approx((1.5 / 16, 2.5 / 16, 5.5 / 16, 6.5 / 16))
    assert apple.area == pytest.approx(16 / 256)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("a red apple", "no box in"),
        ("apple<loc01><loc02><loc03>", "here are 3"),
        (boxed("", 1, 2, 3, 4), "of 0 tokens"),
        (boxed("apple; ", 5, 2, 3, 4), r"from \(0.34, 0.16\) to \(0.22, 0.28\)"),
        (boxed("apple", 1, 2, 3, 4) + boxed("; ", 1, 2, 3, 4), "of 0 tokens"),
        ("red cup<loc03><loc04>; blue apple<loc10><loc12>", "here are 2"),
        (boxed("apple", 1, 2, 3, 4) + "; cup<loc02><loc02>", "here are 2"),
        (boxed("apple", 1, 2, 3, 4) + "<loc05>", "here are 5"),
        ("apple<loc01><loc02>of<loc03><loc04>", "here are 2"),
        (boxed("apple", 1, 2, 30, 40), "has 4 locations, of which the tokenizer knows 2"),
    ],
)
def test_a_reply_without_a_sound_box_is_refused(processor: Processor, reply: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        BoxReader(processor).tokens(reply)


def by_hand(model: Omni, batch: GroundedBatch, reader: BoxReader) -> float:
    """The loss as the class describes it, place by place."""
    assert batch.media.images is not None
    scores, edges = model.ground(batch.media.images, batch.words)
    words = batch.words.tolist()
    total = 0.0
    for row, ids in enumerate(batch.texts):
        boxes = reader.boxes(ids[ids != PADDING].tolist())
        for place in range(4):
            x, y = (place % 2 + 0.5) / 2, (place // 2 + 0.5) / 2
            holding = [box for box in boxes if box.edges[0] <= x <= box.edges[2] and box.edges[1] <= y <= box.edges[3]]
            for box in boxes:  # one that holds no middle has the place nearest to its own
                x0, y0, x1, y1 = box.edges
                middles = {(u, v) for u in (0.25, 0.75) for v in (0.25, 0.75) if x0 <= u <= x1 and y0 <= v <= y1}
                nearest = (0.25 if (x0 + x1) < 1 else 0.75, 0.25 if (y0 + y1) < 1 else 0.75)
                if not middles and nearest == (x, y):
                    holding.append(box)
            belief = scores[row, place].log_softmax(0)
            if not holding:
                total -= float(belief[0])
                continue
            owner = min(reversed(holding), key=lambda box: box.area)
            total -= sum(float(belief[1 + words.index(token)]) for token in owner.name) / len(owner.name)
            total += float((edges[row, place] - torch.tensor(owner.edges)).abs().mean()) * 2
    return total


@torch.no_grad()
def test_the_loss_is_that_of_each_place(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    replies = [
        boxed("red apple", 0, 0, 6, 6),  # holds one middle
        boxed("sky", 0, 0, 15, 15) + "; " + boxed("cup", 9, 9, 14, 14),  # the smaller owns its place
        boxed("seed", 5, 6, 6, 7) + "; " + boxed("dot", 13, 1, 15, 2),  # too small to hold a middle
        boxed("shelf", 0, 5, 12, 6) + "; " + boxed("pole", 12, 0, 13, 9),  # too flat, too narrow
        boxed("cat", 0, 0, 6, 6) + "; " + boxed("dog", 1, 1, 7, 7),  # as large: the later
        boxed("红色的杯子", 8, 0, 15, 7),
    ]
    data = pairs_file(tmp_path / "mixed.jsonl", [(picture("red"), reply) for reply in replies])
    objective, model, _ = built(write_recipe, processor, tmp_path, data=[data])
    batch = batch_of(objective, data["path"])
    expected = by_hand(model, batch, BoxReader(processor))
    assert float(objective.loss(model, batch)) == pytest.approx(expected, rel=1e-5)
    assert objective.count(batch) == 6 * 4
    assert objective.n_bytes(batch) == 0
    assert objective.flops(model, batch) > 0


@torch.no_grad()
def test_shares_of_a_batch_choose_among_the_words_of_all(
    write_recipe: WRITE, processor: Processor, tmp_path: Path
) -> None:
    objective, model, _ = built(write_recipe, processor, tmp_path)
    batch = batch_of(objective, str(tmp_path / "boxed.jsonl"))
    parts = [float(objective.loss(model, batch.rows_of(rank, 2).to("cpu"))) for rank in range(2)]
    assert sum(parts) == pytest.approx(float(objective.loss(model, batch)), rel=1e-5)


@torch.no_grad()
def test_what_stands_where_is_told_in_shares_of_the_picture(
    write_recipe: WRITE, processor: Processor, tmp_path: Path
) -> None:
    _, model, _ = built(write_recipe, processor, tmp_path)
    images, words = torch.rand(2, 3, 16, 16), torch.tensor([300, 301, 305])
    scores, boxes = model.ground(images, words)
    assert scores.shape == (2, 4, 4)
    assert boxes.shape == (2, 4, 4)
    assert model.vision is not None
    head = model.vision.grounding
    assert head is not None
    features: Tensor = model.vision.encoder(images)
    vectors: Tensor = head.word(features)
    assert torch.allclose(scores[..., 1:], vectors @ model.decoder.embeddings.token.weight[words].T, atol=1e-5)
    assert torch.allclose(scores[..., :1], head.nothing(features), atol=1e-5)
    left, top, right, bottom = head.edges(features)[1, 2].tolist()  # below on the left, its middle at (1/4, 3/4)
    assert boxes[1, 2].tolist() == pytest.approx([0.25 - left / 2, 0.75 - top / 2, 0.25 + right / 2, 0.75 + bottom / 2])


def test_where_colours_are_is_learned(write_recipe: WRITE, corpus: Path, tmp_path: Path) -> None:
    shown = pairs_file(tmp_path / "boxed.jsonl", [quarters(index) for index in range(40)])
    held_out = pairs_file(tmp_path / "other.jsonl", [quarters(index) for index in range(100, 120)])
    losses: list[float] = []

    class Losses(Callback):
        def on_validation(self, metrics: ValidationMetrics) -> None:
            losses.append(metrics.loss)

    path = write_recipe(
        objective="grounding",
        data=[shown],
        validation=[held_out],
        vision=SEEING,
        tokenizer={"vocab_size": 320, "locations": BINS, "data": [{"path": str(corpus)}]},
        rows=8,
        time=64,
        budget={"steps": 150},
        lr=0.01,
        eval_every=75,
        freeze=["decoder.*", "vision.projector.*"],
    )
    train(load_recipe(path), tmp_path / "run", callbacks=[Losses()])
    assert losses[-1] < 0.6  # knowing neither colours nor edges is about 2


def test_models_that_cannot_ground_are_refused(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vision\.grounding"):
        built(write_recipe, processor, tmp_path, vision=EYES)
    with pytest.raises(ConfigError, match=r"vision\.grounding"):
        built(write_recipe, processor, tmp_path, vision=None, speech=EARS)
    blind = Processor(Tokenizer.train(["the cat sat on the mat"] * 3, 300))
    with pytest.raises(ConfigError, match=r"tokenizer\.locations"):
        built(write_recipe, blind, tmp_path)
    cropped = EYES["image"] | {"resize": "crop"}
    with pytest.raises(ConfigError, match="'crop' moves boxes"):
        built(write_recipe, processor, tmp_path, vision=SEEING | {"image": cropped})
    with_class = EYES["encoder"] | {"class_token": True, "drop_class": False}
    with pytest.raises(ConfigError, match="grounding needs features on a square"):
        built(write_recipe, processor, tmp_path, vision=SEEING | {"encoder": with_class})
    with pytest.raises(RequestError, match="what stands where"):
        Omni(ModelConfig(decoder=DECODER, vision=seeing())).ground(torch.rand(1, 3, 16, 16), torch.tensor([1]))


def test_the_words_of_a_batch_are_those_of_its_boxes(processor: Processor, write_recipe: WRITE, tmp_path: Path) -> None:
    objective, _, _ = built(write_recipe, processor, tmp_path)
    batch = batch_of(objective, str(tmp_path / "boxed.jsonl"))
    tokens = [token for name in INKS for token in processor.tokenizer.encode(" " + name)]
    named = {token for token in tokens if processor.tokenizer.decode([token]).strip()}
    assert batch.words.tolist() == sorted(named)


@torch.no_grad()
def test_what_is_told_keeps_its_digits_in_half_precision(
    write_recipe: WRITE, processor: Processor, tmp_path: Path
) -> None:
    _, model, _ = built(write_recipe, processor, tmp_path)
    images, words = torch.rand(3, 3, 16, 16), torch.tensor([300, 301])
    assert model.vision is not None
    with torch.autocast("cpu", torch.bfloat16):
        scores, boxes = model.ground(images, words)
        features = model.vision.encoder(images)
    assert model.vision.grounding is not None
    expected = model.vision.grounding(features.float(), model.decoder.embeddings.token.weight[words])
    assert scores.dtype == boxes.dtype == torch.float32
    assert torch.equal(scores, expected[0])
    assert torch.equal(boxes, expected[1])


@pytest.mark.parametrize("change", [{"flip": 0.5}, {"flip_rows": 0.5}, {"rotation": 9.0}, {"crop": 0.8}])
def test_pictures_whose_things_would_move_are_refused(
    write_recipe: WRITE, processor: Processor, tmp_path: Path, change: dict[str, float]
) -> None:
    objective, _, _ = built(write_recipe, processor, tmp_path)
    spec = {"path": str(tmp_path / "boxed.jsonl"), "augment": {"hue": 0.5}}
    objective.stream([DatasetSpec.parse(spec, "test")], rows=2, seed=1, repeat=False).close()
    with pytest.raises(ConfigError, match=f"augment.{next(iter(change))} moves things"):
        objective.stream([DatasetSpec.parse(spec | {"augment": change}, "test")], rows=2, seed=1, repeat=False)


def test_a_reply_without_boxes_is_counted_and_named(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    objective, _, _ = built(write_recipe, processor, tmp_path)
    data = pairs_file(tmp_path / "bad.jsonl", [quarters(1), (picture("red"), "a red picture"), quarters(2)])
    spec = DatasetSpec.parse(data | {"max_bad": 1}, "test")
    stream = objective.stream([spec], rows=2, seed=1, repeat=False)
    assert sum(objective.prepare(batch, 0).words.numel() > 0 for batch in stream) == 1
    stream.close()
    strict = objective.stream([DatasetSpec.parse(data | {"max_bad": 0}, "test")], rows=2, seed=1, repeat=False)
    with pytest.raises(DataError, match="no box in 'a red picture'"):
        list(strict)
    strict.close()


def test_eyes_that_were_raised_otherwise_learn_to_ground(write_recipe: WRITE, tmp_path: Path, corpus: Path) -> None:
    data = pairs_file(tmp_path / "boxed.jsonl", [quarters(index) for index in range(12)])
    tokenizer = {"vocab_size": 320, "locations": BINS, "data": [{"path": str(corpus)}]}
    blind = write_recipe(vision=EYES, tokenizer=tokenizer, budget={"steps": 1})
    first = train(load_recipe(blind), tmp_path / "first")
    settings = {"objective": "grounding", "data": [data], "validation": [data], "rows": 4, "vision": SEEING}
    written = write_recipe("more.yaml", init=str(first), budget={"steps": 2}, **settings)
    recipe = yaml.safe_load(written.read_text())
    written.write_text(yaml.safe_dump({key: recipe[key] for key in recipe if key not in ("model", "tokenizer")}))
    model = sensorium.load(train(load_recipe(written), tmp_path / "second"))
    assert model.config.vision is not None
    assert model.config.vision.grounding
