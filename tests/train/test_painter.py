"""Learning to paint: a tiny run that learns, what stands still meanwhile, and what its losses are."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import PIL.ImageColor
import pytest
import torch
from media_parts import picture
from pairing import EYES
from torch import Tensor, nn

from sensorium.codecs.adversary import ConditionalAdversary, draw_adversary
from sensorium.config import PainterConfig
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError
from sensorium.hub.folder import load_pretrained
from sensorium.messages import Message, Text
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.train import Recipe, load_recipe, train
from sensorium.train.distributed import World
from sensorium.train.loop import Trainer
from sensorium.train.objectives import make_objective
from sensorium.train.painter import PainterObjective, _distance, _mistaken, _nearest
from sensorium.train.start import first_model, prepare_processor

CPU = torch.device("cpu")
WRITE = Callable[..., Path]
COLOURS = ("red", "lime", "blue", "yellow")
PAINTER = {"size": [16, 16], "dims": [16, 8], "style_dim": 16, "noise_dim": 3}


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    """Requests for plain pictures, in words or by showing one; what a recipe says about the file."""
    talks = []
    for colour in COLOURS:
        words = [Text(f"draw {colour}")]
        for parts in (words, [picture(colour), Text("draw this again")]):
            talks.append([Message.user(parts), Message.assistant([picture(colour)])])
    path = tmp_path / "asked.jsonl"
    lines = [json.dumps({"messages": [message.to_dict() for message in talk]}) for talk in talks]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"path": str(path), "format": "jsonl"}


def recipe_of(write_recipe: WRITE, data: dict[str, Any], **settings: Any) -> Recipe:
    painting = {
        "objective": "painter",
        "data": [data],
        "vision": EYES,
        "painter": PAINTER,
        "freeze": ["decoder.*", "vision.*"],
        "rows": 8,
        "time": 48,
        "lr": 5e-3,
        "betas": [0.5, 0.99],
        "weight_decay": 0.0,
        "adversary": 1.0,
        "tries": 2,
        "budget": {"steps": 6},
    }
    return load_recipe(write_recipe(**{**painting, **settings}))


def built(recipe: Recipe, folder: Path) -> tuple[PainterObjective, Omni]:
    folder.mkdir(exist_ok=True)
    prepare_processor(recipe, folder)
    processor = Processor.load(folder)
    model = first_model(recipe, processor, CPU).model
    objective = make_objective(recipe.stages[0], processor.with_config(model.config), model)
    assert isinstance(objective, PainterObjective)
    return objective, model


def losses(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if line["event"] == "step"]


def batch_of(objective: PainterObjective, recipe: Recipe, seed: int = 0) -> Any:
    (batch,) = islice(objective.stream(recipe.stages[0].data, rows=8, seed=1, repeat=True), 1)
    return objective.prepare(batch, seed)


def test_a_painter_learns_to_paint_the_colour_that_is_asked_for(
    write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(write_recipe, asked, budget={"steps": 80}, save_every=200, ema=0.9)
    model = load_pretrained(train(recipe, tmp_path / "run"))
    assert model.processor is not None
    assert model.model.painter is not None
    found = {}
    for colour in COLOURS:
        prompt = model.processor.encode_messages([Message.user(f"draw {colour}")], add_generation_prompt=True)
        ids = torch.from_numpy(prompt.token_ids).long()[None]
        noise = model.model.painter.noise(8, torch.Generator().manual_seed(0))
        with torch.no_grad():
            fused = model.model.fused(ids, torch.tensor([len(prompt)])).expand(8, -1)
            found[colour] = model.model.painter(fused, noise).mean((0, 2, 3))  # (3,)
    for colour, mean in found.items():
        true = _true(colour)
        nearest = min(COLOURS, key=lambda other: float((mean - _true(other)).abs().sum()))
        assert nearest == colour, found
        assert (mean - true).abs().mean() < 0.4
    assert "adversary" not in " ".join(model.model.state_dict())


def _true(colour: str) -> Tensor:
    return torch.tensor(PIL.ImageColor.getrgb(colour)) / 127.5 - 1


def test_the_loss_falls_and_what_is_frozen_stays(write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(write_recipe, asked, budget={"steps": 40}, log_every=1, save_every=100, adversary=0.0)
    _, before = built(recipe, tmp_path / "before")
    after = load_pretrained(train(recipe, tmp_path / "run")).model
    fell = losses(tmp_path / "run")
    assert sum(fell[-5:]) < 0.6 * sum(fell[:5])
    weights = after.state_dict()
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, weights[name]) == (not name.startswith("painter.")), name


def test_what_reads_learns_too_unless_it_is_frozen(write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(write_recipe, asked, freeze=["vision.*"])
    objective, model = built(recipe, tmp_path / "run")
    batch = batch_of(objective, recipe)
    for pattern, learns in (("decoder.", False), ("decoder.", True)):
        for name, weight in model.named_parameters():
            weight.grad = None
            weight.requires_grad_(name.startswith("painter.") or (learns and name.startswith(pattern)))
        objective.loss(model, batch).backward()
        moved = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
        assert moved == ({"painter", "decoder"} if learns else {"painter"})
    assert objective.count(batch) == 8
    assert objective.n_bytes(batch) == 0
    flops = objective.flops(model, batch)
    model.decoder.requires_grad_(False)
    assert flops > objective.flops(model, batch) > model.painter.flops() * 8


def test_a_run_that_goes_on_is_the_uninterrupted_one(
    write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(write_recipe, asked, ema=0.9)
    stage = recipe.stages[0]

    def trainer(name: str) -> Trainer:
        objective, model = built(recipe, tmp_path / name)
        begun = Trainer(model, objective, stage, seed=3, world=World(0, 1, CPU))
        begun.horizon = 6
        return begun

    whole = trainer("a")
    for _ in range(3):
        whole.train_step(1e9)
    kept = whole.snapshot().cloned()
    for _ in range(3):
        whole.train_step(1e9)
    again = trainer("b")
    again.restore(kept)
    for _ in range(3):
        again.train_step(1e9)
    ours, theirs = whole.snapshot().tensors, again.snapshot().tensors
    for group in ("weights", "optimizer", "ema"):
        assert ours[group].keys() == theirs[group].keys()
        assert all(torch.equal(tensor, theirs[group][name]) for name, tensor in ours[group].items()), group
    assert any(name.startswith("adversary.") for name in ours["weights"])
    for stream in (whole.stream, again.stream):
        stream.close()


def test_the_noise_that_learns_is_that_of_the_nearest_painting(
    write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(write_recipe, asked, tries=5)
    objective, model = built(recipe, tmp_path / "run")
    batch, other = (batch_of(objective, recipe, seed) for seed in (7, 8))
    assert batch.noise.shape == (8, 5, 3)
    assert torch.equal(batch.noise, batch_of(objective, recipe, 7).noise)
    assert not torch.equal(batch.noise, other.noise)
    with torch.no_grad():
        fused = model.fused(batch.input_ids, batch.lengths, batch.media)
        distances = torch.stack(
            [_distance(model.painter(fused, batch.noise[:, index]), batch.pixels) for index in range(5)], 1
        )
        chosen = _nearest(model.painter, fused, batch)
        assert objective.loss(model, batch).item() == pytest.approx(distances.amin(1).sum().item(), rel=1e-5)
    assert torch.equal(chosen, batch.noise[torch.arange(8), distances.argmin(1)])
    assert distances.argmin(1).unique().numel() > 1


def test_distance_looks_at_every_scale() -> None:
    true = torch.zeros(1, 3, 8, 8)
    checks = torch.ones(8, 8)
    checks[::2, ::2] = checks[1::2, 1::2] = -1.0  # gone at the two coarser scales
    assert _distance(true + checks, true).item() == pytest.approx(1 / 3)
    assert _distance(true + 0.5, true).item() == pytest.approx(0.5)


def adversary_of(seed: int = 0) -> ConditionalAdversary:
    made = ConditionalAdversary(6, (4, 6, 8))
    draw_adversary(made, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for _ in range(20):  # the norms find their scale
            made(random(1, 3, 16, 16), random(1, 6))
    return made.eval()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_adversary_knows_what_was_asked_in_its_score_of_the_whole_alone() -> None:
    adversary, pixels, asked = adversary_of(), random(3, 3, 16, 16), random(3, 6, seed=1)
    patches, whole = adversary(pixels, asked)
    assert patches.shape == (3, 1, 4, 4)
    assert whole.shape == (3, 1, 1, 1)
    same_patches, other = adversary(pixels, asked.roll(1, 0))
    assert torch.equal(patches, same_patches)
    assert ((whole - other).abs() > 1e-4).all()
    # The published form: a score of the features alone, and their product with the projected vector.
    features = adversary.whole(adversary.patches(pixels)).sum((2, 3))
    unit = asked / asked.square().mean(1, keepdim=True).sqrt()
    expected = adversary.of_whole(features)[:, 0] + (features * (unit @ adversary.condition.weight.T)).mean(1)
    torch.testing.assert_close(whole.flatten(), expected, rtol=1e-4, atol=1e-5)


def test_pictures_of_others_are_no_answers_but_where_the_same_was_asked() -> None:
    adversary, pixels, asked = adversary_of(), random(3, 3, 16, 16), random(3, 6, seed=1)
    with torch.no_grad():
        right, wrong = (adversary(pixels, asked[order])[1] for order in ([0, 1, 2], [2, 0, 1]))
        expected = ((1 - right).relu().sum() + (1 + wrong).relu().sum()).item() / 2
        assert _mistaken(adversary, pixels, asked).item() == pytest.approx(expected)
        assert _mistaken(adversary, pixels, asked[:1].expand(3, -1)).item() == 0.0
        assert _mistaken(adversary, pixels[:1], asked[:1]).item() == 0.0


def test_the_adversary_of_a_small_picture_halves_it_no_more_often_than_it_can(
    write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path
) -> None:
    recipe = recipe_of(write_recipe, asked, painter={**PAINTER, "size": [8, 16]})
    objective, model = built(recipe, tmp_path / "run")
    assert objective.loss(model, batch_of(objective, recipe)).isfinite()


def test_a_step_of_the_game_moves_both_sides(write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path) -> None:
    recipe = recipe_of(write_recipe, asked)
    objective, model = built(recipe, tmp_path / "run")
    assert isinstance(objective.adversary, nn.Module)
    model.requires_grad_(False)
    model.painter.requires_grad_(True)
    batch = batch_of(objective, recipe)
    for _ in range(8):  # the adversary's norms find their scale: then no score is beyond the hinge
        model.zero_grad()
        objective.adversary.zero_grad()
        objective.loss(model, batch).backward()
    for part in (model.painter, objective.adversary):
        for name, weight in part.named_parameters():
            assert weight.grad is not None, name
            assert weight.ndim == 1 or weight.grad.abs().max() > 0, name  # biases of the hinge may cancel


def test_what_cannot_paint_is_told_so(write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs a model with a painter \(set painter"):
        built(recipe_of(write_recipe, asked, painter=None), tmp_path / "a")
    with pytest.raises(ConfigError, match="above max_positions 64"):
        recipe_of(write_recipe, asked, time=65)


def test_a_model_gets_a_painter_later(write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path) -> None:
    first = train(
        recipe_of(write_recipe, asked, painter=None, objective="causal", freeze=[], adversary=0), tmp_path / "a"
    )
    stage = recipe_of(write_recipe, asked).stages[0].model_dump(mode="json", exclude_unset=True)
    recipe = Recipe.parse({"init": str(first), "painter": PAINTER, "save_dtype": "float32", "stages": [stage]}, "b")
    model = load_pretrained(train(recipe, tmp_path / "b"))
    assert model.config.painter == PainterConfig.parse(PAINTER, "test")
    before = load_pretrained(first).model.state_dict()
    after = model.model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_specs_of_the_world_serve(write_recipe: WRITE, asked: dict[str, Any], tmp_path: Path) -> None:
    world = DatasetSpec.parse({"world": {"kinds": ["edit"], "languages": ["en"], "size": 16}, "split": "train"}, "test")
    recipe = recipe_of(write_recipe, asked)
    objective, model = built(recipe, tmp_path / "run")
    (batch,) = islice(objective.stream([world], rows=4, seed=0, repeat=True), 1)
    assert batch.media.image_places[:, 0].tolist() == [0, 1, 2, 3]
    assert batch.pixels.shape == (4, 3, 16, 16)
    with torch.no_grad():
        assert objective.loss(model, objective.prepare(batch, 0)).isfinite()
