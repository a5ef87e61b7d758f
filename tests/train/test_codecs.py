"""Codecs in training: they learn to give back what they are given, against an adversary that learns beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from making import MAKING, scribble
from media_parts import tone
from pairing import EARS, EYES, pairs_file, played, shown
from safetensors.torch import load_file
from torch import Tensor, nn

from sensorium.codecs.adversary import adversary_loss, scored_by_adversary
from sensorium.data.raw import RawBatch
from sensorium.errors import ConfigError
from sensorium.hub.folder import load_pretrained
from sensorium.messages import Message, Text
from sensorium.processing.mel import log_mel
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train import load_recipe, train
from sensorium.train.codecs import SpeechCodecObjective
from sensorium.train.distributed import World
from sensorium.train.loop import Trainer
from sensorium.train.objectives import make_objective
from sensorium.train.start import first_model

WRITE = Callable[..., Path]
KINDS = ("image", "speech")
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def recipe(write_recipe: WRITE, tmp_path: Path) -> WRITE:
    """Writes a recipe in which the codec of a kind learns."""
    seen = pairs_file(tmp_path / "seen.jsonl", [shown(index) for index in range(6)])
    heard = pairs_file(tmp_path / "heard.jsonl", [played(index) for index in range(7)])

    def write(kind: str, **settings: Any) -> Path:
        data = seen if kind == "image" else heard
        base = {"objective": f"{kind}_codec", "data": [data], "validation": [data], "rows": 3, "time": 30}
        return write_recipe(**{**base, **MAKING, "lr": 3e-3, "weight_decay": 0.0, **settings})

    return write


@pytest.fixture
def make_trainer(recipe: WRITE, corpus: Path) -> Callable[..., Trainer]:
    processor = Processor(Tokenizer.train([corpus.read_text(encoding="utf-8")], 320))

    def make(kind: str, **settings: Any) -> Trainer:
        plan = load_recipe(recipe(kind, **settings))
        model = first_model(plan, processor, ALONE.device).model
        objective = make_objective(plan.stages[0], processor.with_config(model.config), model)
        trainer = Trainer(model, objective, plan.stages[0], seed=1, world=ALONE)
        trainer.horizon = 100
        return trainer

    return make


def gradients(part: nn.Module) -> dict[str, Tensor]:
    found = {name: weight.grad.clone() for name, weight in part.named_parameters() if weight.grad is not None}
    part.zero_grad()
    return found


def codec_of(trainer: Trainer, kind: str) -> Any:
    return trainer.model.image_codec if kind == "image" else trainer.model.speech_codec


def made(trainer: Trainer, kind: str, batch: RawBatch) -> Tensor:
    codec = codec_of(trainer, kind)
    return codec(batch.values)[0] if kind == "image" else codec(batch.values, batch.references)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_neither_sides_loss_moves_the_other_and_both_pull_alike(
    make_trainer: Callable[..., Trainer], kind: str
) -> None:
    share = 0.7
    trainer = make_trainer(kind, adversary=share)
    adversary, codec, batch = trainer.model.adversary, codec_of(trainer, kind), trainer.next_batch(0)
    assert adversary is not None
    adversary.eval()  # its norms stand still, so that the game can be played again

    trainer.objective.loss(trainer.model, batch).backward()
    game, taught = gradients(codec), gradients(adversary)
    trainer.objective.adversary = None  # type: ignore[misc]
    trainer.objective.loss(trainer.model, batch).backward()
    wanted = gradients(codec)
    assert not gradients(adversary)

    drawn = made(trainer, kind, batch)
    adversary_loss(adversary(batch.values), adversary(drawn.detach())).sum().backward()
    told = gradients(adversary)
    assert told.keys() == taught.keys()
    for name, gradient in told.items():
        torch.testing.assert_close(taught[name], gradient, rtol=1e-4, atol=1e-6)
    scored_by_adversary(adversary(drawn)).sum().backward()
    opposed = gradients(codec)

    (last,) = (name for name, weight in codec.named_parameters() if weight is codec.last_weight)
    pull = game[last] - wanted[last]
    assert float(pull.norm()) == pytest.approx(share * float(wanted[last].norm()), rel=1e-3)
    factor = float(pull.norm() / opposed[last].norm())
    for name, gradient in opposed.items():
        torch.testing.assert_close(game[name], wanted[name] + factor * gradient, rtol=1e-3, atol=1e-4)
    trainer.stream.close()


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_take_their_steps_together(make_trainer: Callable[..., Trainer], kind: str) -> None:
    trainer = make_trainer(kind, adversary=0.5)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    metrics = trainer.train_step(1e9)
    assert metrics.learned_tokens == 3
    moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    assert {name.partition(".")[0] for name in moved} == {f"{kind}_codec", "adversary"}
    with trainer.result() as model:
        assert model.adversary is None
        assert not [name for name in model.state_dict() if name.startswith("adversary")]
    assert trainer.model.adversary is trainer.objective.adversary
    trainer.stream.close()


@pytest.mark.parametrize("kind", KINDS)
def test_validation_asks_no_adversary(make_trainer: Callable[..., Trainer], kind: str) -> None:
    opposed, plain = make_trainer(kind, adversary=1.0), make_trainer(kind)
    batch = plain.next_batch(0)
    assert plain.model.adversary is None
    with torch.no_grad():
        losses = [float(each.objective.loss(each.model, batch)) for each in (opposed, plain)]
    assert losses[0] == losses[1] > 0
    for each in (opposed, plain):
        each.stream.close()


def test_two_stretches_of_a_recording_are_drawn_by_the_seed_alone(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer("speech", time=12)
    objective = trainer.objective
    assert isinstance(objective, SpeechCodecObjective)
    long = torch.arange(1.0, 3_001)
    short = torch.cat((torch.arange(1.0, 501), torch.zeros(2_500)))
    batch = RawBatch(torch.stack((long, short)), torch.tensor([3_000, 500]), torch.zeros(2, 0))
    cut, again, other = (objective.prepare(batch, seed) for seed in (1, 1, 2))
    assert cut.values.shape == cut.references.shape == (2, 12 * 80)
    assert torch.equal(cut.values, again.values)
    assert torch.equal(cut.references, again.references)
    assert not torch.equal(cut.values[0], other.values[0])
    assert not torch.equal(cut.values[0], cut.references[0])
    for stretch in (cut.values[0], cut.references[0]):
        assert (stretch.diff() == 1).all()
    for stretch in (cut.values[1], cut.references[1]):  # shorter ones begin at their beginning
        assert torch.equal(stretch, short[:960])
    starts = torch.cat([objective.prepare(batch, seed).values[0, :1] for seed in range(200)])
    assert starts.min() < 100
    assert starts.max() > 1_950
    trainer.stream.close()


def test_a_recording_shorter_than_the_stretch_is_followed_by_silence(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer("speech", time=20)
    batch = RawBatch(torch.ones(1, 700), torch.tensor([700]), torch.zeros(1, 0))
    cut = trainer.objective.prepare(batch, 0)
    assert cut.values.shape == (1, 1_600)
    assert cut.values[0].nonzero().max() == 699
    trainer.stream.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_codec_learns(make_trainer: Callable[..., Trainer], kind: str) -> None:
    trainer = make_trainer(kind, rows=6, schedule="constant", warmup=0, lr=1e-2)
    batch = trainer.next_batch(0)
    with torch.no_grad():
        before = float(trainer.objective.loss(trainer.model, batch))
    for _ in range(30):
        trainer.train_step(1e9)
    with torch.no_grad():
        after = float(trainer.objective.loss(trainer.model, batch))
    assert after < 0.9 * before
    trainer.stream.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_an_adversary_and_an_average_goes_on_to_the_bit(recipe: WRITE, tmp_path: Path, kind: str) -> None:
    """Stopped at its checkpoint and taken up again, it ends where one that never stopped does; no folder holds it."""
    path = recipe(kind, adversary=0.5, ema=0.8, budget={"steps": 4}, save_every=2, schedule="constant", accumulate=2)
    whole = train(load_recipe(path), tmp_path / "whole", device="cpu")
    torch.manual_seed(123)  # whatever was drawn before
    train(load_recipe(path, ["budget.steps=2"]), tmp_path / "parted", device="cpu")
    torch.manual_seed(456)
    parted = train(load_recipe(path), tmp_path / "parted", device="cpu")
    assert (parted / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    names = {name.partition(".")[0] for name in load_file(whole / "model.safetensors")}
    assert names == {"decoder", "image_codec", "speech_codec"}
    loaded = load_pretrained(whole)
    assert loaded.model.adversary is None


def test_an_adversary_needs_sounds_of_some_length(recipe: WRITE, tmp_path: Path) -> None:
    path = recipe("speech", adversary=0.5, time=25)
    with pytest.raises(ConfigError, match="time = 25 are 2000 samples, and an adversary needs 2048"):
        train(load_recipe(path), tmp_path / "run", device="cpu")


def test_an_objective_needs_its_codec(write_recipe: WRITE, tmp_path: Path) -> None:
    data = pairs_file(tmp_path / "seen.jsonl", [shown(0)])
    for kind in KINDS:
        path = write_recipe(objective=f"{kind}_codec", data=[data])
        with pytest.raises(ConfigError, match=rf"objective {kind}_codec needs a model with an? {kind} codec"):
            train(load_recipe(path), tmp_path / kind, device="cpu")


@pytest.fixture
def talks(tmp_path: Path) -> dict[str, Any]:
    """Conversations that are answered by words, pictures and speech."""
    answers = [
        Message.assistant([scribble(1)]),
        Message.assistant([Text("Here: "), scribble(2)]),
        Message.assistant([Text("One, "), tone(0.3), Text("two."), tone(0.2)]),
        Message.assistant("Words."),
    ]
    path = tmp_path / "talks.jsonl"
    lines = [json.dumps({"messages": [Message.user("Go.").to_dict(), answer.to_dict()]}) for answer in answers]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"path": str(path), "format": "jsonl", "augment": {"drop_words": 0.5}}


def test_conversations_are_learned_in_codes_that_stand_still(
    write_recipe: WRITE, tmp_path: Path, talks: dict[str, Any]
) -> None:
    """Codecs first, then a decoder that writes their codes: the second stage moves the decoder alone."""
    seen = pairs_file(tmp_path / "seen.jsonl", [shown(index) for index in range(6)])
    stage = {"rows": 3, "time": 64, "budget": {"steps": 2}, "validation": []}
    stages = [
        {**stage, "name": "codec", "objective": "image_codec", "data": [seen], "adversary": 0.5},
        {**stage, "name": "talk", "objective": "chat", "data": [talks], "weight_decay": 0.5},
    ]
    keys = ("data", "rows", "time", "budget", "eval_every", "save_every", "keep")
    path = write_recipe(**MAKING, **dict.fromkeys(keys), stages=stages)
    plan = {name: value for name, value in yaml.safe_load(path.read_text()).items() if value is not None}
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    last = load_pretrained(train(load_recipe(path), tmp_path / "run", device="cpu"))
    (first_folder,) = [folder for folder in (tmp_path / "run").rglob("config.json") if "codec" in str(folder.parent)]
    first = load_pretrained(first_folder.parent)
    before, after = first.model.state_dict(), last.model.state_dict()
    for name, weight in before.items():
        assert torch.equal(weight, after[name]) == ("codec" in name), name
    assert last.processor is not None
    assert last.processor.codecs is not None
    assert len(last.processor.codecs.picture_ids(scribble())) == 6


# Perception


FROZEN_EYES = {"vision": EYES, "freeze": ["vision.*"]}


def test_perception_goes_by_what_the_eyes_make_of_both(make_trainer: Callable[..., Trainer]) -> None:
    plain, seeing = make_trainer("image", **FROZEN_EYES), make_trainer("image", perception=2.0, **FROZEN_EYES)
    batch = plain.next_batch(0)
    losses = [each.objective.loss(each.model, batch).item() for each in (plain, seeing)]
    model = seeing.model
    assert model.vision is not None
    with torch.no_grad():
        drawn, _ = model.image_codec(batch.values)  # type: ignore[misc]
        side = model.config.vision.encoder.image_size  # type: ignore[union-attr]
        ours, theirs = (
            model.vision.encoder(nn.functional.interpolate(each, (side, side), mode="bilinear", antialias=True))
            for each in (drawn, batch.values)
        )
    apart = ((ours - theirs) ** 2).sum((1, 2)) / (theirs**2).sum((1, 2))
    assert losses[1] - losses[0] == pytest.approx(2.0 * float(apart.sum()), rel=1e-3)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    seeing.train_step(1.0)
    moved = {
        name.partition(".")[0] for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }
    assert moved == {"image_codec"}


def test_perception_needs_eyes_that_stay(make_trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(ConfigError, match="perception needs a model with eyes"):
        make_trainer("image", perception=1.0)
    with pytest.raises(ConfigError, match=r'freeze "vision\.\*"'):
        make_trainer("image", perception=1.0, vision=EYES)


SLOW_EARS = {**EARS, "audio": {**EARS["audio"], "sample_rate": 4_000, "n_fft": 64, "hop": 40}}  # as the codec is
FROZEN_EARS = {"speech": SLOW_EARS, "freeze": ["speech.*"], "rows": 1}


def test_perception_goes_by_what_the_ears_make_of_both(make_trainer: Callable[..., Trainer]) -> None:
    plain, hearing = make_trainer("speech", **FROZEN_EARS), make_trainer("speech", perception=2.0, **FROZEN_EARS)
    batch = plain.next_batch(0)
    losses = [each.objective.loss(each.model, batch).item() for each in (plain, hearing)]
    model = hearing.model
    assert model.speech is not None
    assert model.config.speech is not None
    model.speech.eval()
    with torch.no_grad():
        spoken = made(hearing, "speech", batch)
        ours, theirs = (
            model.speech.encoder(mels[None], torch.tensor([mels.shape[1]]))[0]
            for each in (spoken, batch.values)
            for mels in [torch.from_numpy(log_mel(each[0].numpy(), model.config.speech.audio))]
        )
    apart = ((ours - theirs) ** 2).sum() / (theirs**2).sum()
    assert losses[1] - losses[0] == pytest.approx(2.0 * float(apart), rel=1e-3)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    hearing.train_step(1.0)
    moved = {
        name.partition(".")[0] for name, weight in model.named_parameters() if not torch.equal(weight, before[name])
    }
    assert moved == {"speech_codec"}


def test_perception_needs_ears_that_stay_and_hear_at_the_rate_of_the_codec(
    make_trainer: Callable[..., Trainer],
) -> None:
    with pytest.raises(ConfigError, match="perception needs a model with ears"):
        make_trainer("speech", perception=1.0)
    with pytest.raises(ConfigError, match=r'freeze "speech\.\*"'):
        make_trainer("speech", perception=1.0, speech=EARS)
    with pytest.raises(ConfigError, match="needs ears that hear at the codec's 4000 samples a second, not 16000"):
        make_trainer("speech", perception=1.0, **{**FROZEN_EARS, "speech": EARS})


@pytest.mark.parametrize(
    ("time", "audio", "longest"),
    [(30, {"window_seconds": 0.1}, 10), (2, {"n_fft": 4_000}, 100)],
    ids=["longer than they hear", "shorter than half a frame"],
)
def test_perception_needs_stretches_that_the_ears_can_hear(
    make_trainer: Callable[..., Trainer], time: int, audio: dict[str, Any], longest: int
) -> None:
    ears = {
        **SLOW_EARS,
        "audio": {**SLOW_EARS["audio"], **audio},
        "encoder": {**SLOW_EARS["encoder"], "max_frames": longest},
    }
    with pytest.raises(ConfigError, match=rf"time = {time} are \d+ samples, and its ears hear"):
        make_trainer("speech", perception=1.0, **{**FROZEN_EARS, "speech": ears, "time": time})


def test_the_work_of_ears_counts_too(make_trainer: Callable[..., Trainer]) -> None:
    plain, hearing = make_trainer("speech", **FROZEN_EARS), make_trainer("speech", perception=2.0, **FROZEN_EARS)
    batch = plain.next_batch(0)
    model = hearing.model
    assert model.speech is not None
    places = model.speech.encoder(torch.zeros(1, 16, batch.values.shape[1] // 40), torch.tensor([1]))[0].shape[1]
    weights = sum(weight.numel() for weight in model.speech.encoder.parameters())
    more = hearing.objective.flops(model, batch) - plain.objective.flops(plain.model, batch)
    assert more == 6.0 * weights * places * len(batch.values)


def test_a_model_that_draws_may_be_told_the_places_of_codes_later(recipe: WRITE, tmp_path: Path) -> None:
    without = {**MAKING["image_codec"], "embed_places": False}
    plan = load_recipe(recipe("image", image_codec=without, budget={"steps": 1}, save_dtype="float32"))
    folder = train(plan, tmp_path / "run")
    settings = {"stages": [{**plan.stages[0].model_dump(mode="json"), "name": "more"}], "init": str(folder)}
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump({**settings, "image_codec": MAKING["image_codec"]}), encoding="utf-8")
    old = load_pretrained(folder)
    new = first_model(load_recipe(more), old.processor, ALONE.device)
    assert new.model.decoder.embeddings.code_places is not None
    state = new.model.state_dict()
    added = {name for name in state if name not in old.model.state_dict()}
    assert added == {f"decoder.embeddings.code_places.{part}.weight" for part in ("row", "column")}
    for name, weight in old.model.state_dict().items():
        torch.testing.assert_close(state[name], weight)
    ids = torch.tensor([[3, *old.config.image_codec.ids[:4], 5]])  # type: ignore[union-attr]
    with torch.no_grad():
        torch.testing.assert_close(new.model.eval().logits(ids), old.model.eval().logits(ids))
