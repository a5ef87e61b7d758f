"""Words in their places: what is read of a reply, the loss written out place by place, and that it is learned."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from media_parts import DECODER, picture, seeing
from pairing import EARS, EYES, pairs_file
from torch import Tensor

from sensorium.config import ModelConfig
from sensorium.data.pairs import PADDING, PairBatch
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError, DataError, RequestError
from sensorium.messages import Image
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train import Callback, load_recipe, train
from sensorium.train.callbacks import ValidationMetrics
from sensorium.train.grounding import BoxReader, GroundedBatch, Grounding
from sensorium.train.objectives import make_objective
from sensorium.train.start import first_model

WRITE = Callable[..., Path]
CPU = torch.device("cpu")
SEEING: dict[str, Any] = {**EYES, "grounding": True}  # two places along a side
BINS = 16
COLOURS = {"r": (230, 20, 20), "g": (20, 200, 20), "b": (30, 30, 230), "y": (240, 220, 30)}


@pytest.fixture
def processor(corpus: Path) -> Processor:
    return Processor(Tokenizer.train([corpus.read_text(encoding="utf-8")], 320).with_locations(BINS))


def boxed(name: str, *bins: int) -> str:
    return name + "".join(f"<loc{bin_:02d}>" for bin_ in bins)


def quarters(index: int) -> tuple[Image, str]:
    """A picture of four colours, one of them white and not named, and the boxes of the others."""
    rng = np.random.default_rng(index)
    names = [*rng.permutation(list(COLOURS))[:3], "white"]
    pixels = np.full((16, 16, 3), 255, dtype=np.uint8)
    places = rng.permutation(4)
    replies = []
    for name, place in zip(names, places, strict=True):
        y, x = 8 * (place // 2), 8 * (place % 2)
        if name != "white":
            pixels[y : y + 8, x : x + 8] = COLOURS[name]
            replies.append(boxed(name, x, y, x + 7, y + 7))
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return Image(data=stream.getvalue()), "; ".join(replies)


def built(write_recipe: WRITE, processor: Processor, tmp_path: Path, **settings: Any) -> tuple[Grounding, Omni, Path]:
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
    assert isinstance(objective, Grounding)
    return objective, model, path


def batch_of(objective: Grounding, data: str) -> GroundedBatch:
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
        ("apple<loc01><loc02><loc03>", "no box in"),
        (boxed("", 1, 2, 3, 4), "of 0 words"),
        (boxed("apple; ", 5, 2, 3, 4), "from \\(0.34, 0.16\\) to \\(0.22, 0.28\\)"),
        (boxed("apple", 1, 2, 3, 4) + boxed("; ", 1, 2, 3, 4), "of 0 words"),
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
            for box in boxes:
                x0, y0, x1, y1 = box.edges
                middles = {(u, v) for u in (0.25, 0.75) for v in (0.25, 0.75) if x0 <= u <= x1 and y0 <= v <= y1}
                nearest = (0.25 if (x0 + x1) < 1 else 0.75, 0.25 if (y0 + y1) < 1 else 0.75)
                if not middles and nearest == (x, y):
                    holding.append(box)
            belief = scores[row, place].log_softmax(0)
            if not holding:
                total -= float(belief[0])
                continue
            owner = min(holding, key=lambda box: box.area)
            total -= sum(float(belief[1 + words.index(token)]) for token in owner.name) / len(owner.name)
            total += float((edges[row, place] - torch.tensor(owner.edges)).abs().mean()) * 2
    return total


@torch.no_grad()
def test_the_loss_is_that_of_each_place(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    replies = [
        boxed("red apple", 0, 0, 6, 6),  # holds one middle
        boxed("sky", 0, 0, 15, 15) + "; " + boxed("cup", 9, 9, 14, 14),  # the smaller owns its place
        boxed("seed", 5, 6, 6, 7) + "; " + boxed("dot", 13, 1, 15, 2),  # too small to hold a middle
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
    assert model.vision.grounding is not None
    raw = model.vision.grounding(model.vision.encoder(images))
    vectors: Tensor = raw[..., :-5]
    assert torch.allclose(scores[..., 1:], vectors @ model.decoder.embeddings.token.weight[words].T, atol=1e-5)
    assert torch.allclose(scores[..., 0], raw[..., -5], atol=1e-5)
    left, top, right, bottom = raw[1, 2, -4:].tolist()  # the place below on the left, its middle at (1/4, 3/4)
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
    with_class = EYES["encoder"] | {"class_token": True, "drop_class": False}
    with pytest.raises(ConfigError, match="grounding needs features on a square"):
        built(write_recipe, processor, tmp_path, vision=SEEING | {"encoder": with_class})
    with pytest.raises(RequestError, match="what stands where"):
        Omni(ModelConfig(decoder=DECODER, vision=seeing())).ground(torch.rand(1, 3, 16, 16), torch.tensor([1]))


def test_the_words_of_a_batch_are_those_of_its_boxes(processor: Processor, write_recipe: WRITE, tmp_path: Path) -> None:
    objective, _, _ = built(write_recipe, processor, tmp_path)
    batch = batch_of(objective, str(tmp_path / "boxed.jsonl"))
    named = {token for name in COLOURS for token in processor.encode_text(" " + name).token_ids.tolist()}
    assert isinstance(batch, PairBatch)
    assert set(batch.words.tolist()) <= named
    assert batch.words.tolist() == sorted(set(batch.words.tolist()))
