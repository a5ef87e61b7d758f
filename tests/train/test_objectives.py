"""What each objective learns from a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sensorium.data.batches import Batch
from sensorium.errors import ConfigError
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train.objectives import MaskedLM, make_objective, share_of
from sensorium.train.recipe import Recipe, Stage, load_recipe
from sensorium.train.start import first_model

CPU = torch.device("cpu")


@pytest.fixture
def processor(corpus: Path) -> Processor:
    return Processor(Tokenizer.train([corpus.read_text(encoding="utf-8")], 320))


def built(path: Path, processor: Processor) -> tuple[Stage, Omni]:
    recipe: Recipe = load_recipe(path)
    return recipe.stages[0], first_model(recipe, processor, CPU).model


def first_batch(objective: Any, stage: Stage) -> Batch:
    batch: Batch = next(objective.stream(stage.data, rows=stage.rows, seed=1, repeat=True))
    return batch


def test_causal_learns_every_word_of_a_conversation_and_chat_the_assistants_alone(
    write_recipe: Callable[..., Path], chats: Path, processor: Processor
) -> None:
    data = [{"path": str(chats)}]
    texts = {}
    for kind in ("causal", "chat"):
        stage, model = built(write_recipe(objective=kind, data=data, rows=1, time=64), processor)
        objective = make_objective(stage, processor, model)
        batch = first_batch(objective, stage)
        learned = batch.targets[batch.targets >= 0]
        texts[kind] = processor.tokenizer.decode(learned.tolist(), controls=True)
        assert objective.count(batch) == len(learned)
        assert objective.n_bytes(batch) == len(processor.tokenizer.decode(learned.tolist()).encode())
    assert texts["chat"].count("<|end|>") == texts["chat"].count(".<|end|>") > 0
    assert "<|user|>" not in texts["chat"]
    assert "<|user|>" in texts["causal"]


def test_the_causal_loss_is_the_mean_surprise_at_each_next_token(
    write_recipe: Callable[..., Path], processor: Processor
) -> None:
    stage, model = built(write_recipe(), processor)
    objective = make_objective(stage, processor, model)
    batch = first_batch(objective, stage)
    loss = objective.loss(model, batch)
    logits = model.decoder.logits(
        model.decoder(batch.input_ids, positions=batch.positions, document_ids=batch.document_ids)
    )
    by_hand = -logits.log_softmax(-1).gather(-1, batch.targets.clamp_min(0)[..., None])[..., 0]
    assert loss.item() == pytest.approx(by_hand[batch.targets >= 0].sum().item(), rel=1e-5)


def masked(write_recipe: Callable[..., Path], processor: Processor, **settings: Any) -> tuple[Stage, Omni, MaskedLM]:
    stage, model = built(write_recipe(objective="masked", model={"causal": False}, **settings), processor)
    objective = make_objective(stage, processor, model)
    assert isinstance(objective, MaskedLM)
    return stage, model, objective


def test_masked_hides_a_share_of_the_words_and_asks_for_those_at_their_own_places(
    write_recipe: Callable[..., Path], processor: Processor
) -> None:
    stage, _, objective = masked(write_recipe, processor, rows=64, time=64, mask=0.3)
    batch = first_batch(objective, stage)
    seen = objective.prepare(batch, 5)
    chosen = seen.targets >= 0
    assert torch.equal(seen.targets[chosen], batch.input_ids[chosen])
    assert torch.equal(seen.input_ids[~chosen], batch.input_ids[~chosen])
    controls = torch.tensor(sorted(processor.tokenizer.control_ids.values()))
    words = (batch.document_ids >= 0) & ~torch.isin(batch.input_ids, controls)
    assert not (chosen & ~words).any()
    assert chosen.sum() / words.sum() == pytest.approx(0.3, abs=0.03)
    hidden = seen.input_ids[chosen] == processor.tokenizer.mask_id
    kept = seen.input_ids[chosen] == batch.input_ids[chosen]
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.05)
    assert kept.float().mean().item() == pytest.approx(0.1, abs=0.04)
    replaced = seen.input_ids[chosen][~hidden & ~kept]
    assert len(replaced)
    assert not torch.isin(replaced, controls).any()
    hidden_text = processor.tokenizer.decode(seen.targets[chosen].tolist())
    assert objective.n_bytes(seen) == len(hidden_text.encode())


def test_masking_depends_on_its_seed_alone(write_recipe: Callable[..., Path], processor: Processor) -> None:
    stage, _, objective = masked(write_recipe, processor)
    batch = first_batch(objective, stage)
    first = objective.prepare(batch, 5)
    torch.manual_seed(99)
    assert torch.equal(objective.prepare(batch, 5).input_ids, first.input_ids)
    assert not torch.equal(objective.prepare(batch, 6).targets, first.targets)


def test_a_masked_model_looks_both_ways(write_recipe: Callable[..., Path], processor: Processor) -> None:
    stage, model, objective = masked(write_recipe, processor, rows=1)
    batch = objective.prepare(first_batch(objective, stage), 5)
    place = int((batch.targets[0] >= 0).nonzero()[0])
    after = place + 1
    assert batch.document_ids[0, place] == batch.document_ids[0, after]
    only = torch.full_like(batch.targets, -100)
    only[0, place] = batch.targets[0, place]
    vectors = model.decoder.embeddings.token(batch.input_ids).detach()
    changed = batch.input_ids.clone()
    changed[0, after] = (changed[0, after] + 1) % len(vectors)
    losses = [
        model.decoder.loss(ids, only, positions=batch.positions, document_ids=batch.document_ids).item()
        for ids in (batch.input_ids, changed)
    ]
    assert losses[0] != losses[1]


def test_shares_divide_the_rows(write_recipe: Callable[..., Path], processor: Processor) -> None:
    stage, model = built(write_recipe(rows=5), processor)
    objective = make_objective(stage, processor, model)
    batch = first_batch(objective, stage)
    shares = [share_of(batch, rank, 2) for rank in (0, 1)]
    assert [len(share.input_ids) for share in shares] == [3, 2]
    assert sum(objective.count(share) for share in shares) == objective.count(batch)
    with torch.no_grad():
        total = sum(float(objective.loss(model, share)) for share in shares)
        assert total == pytest.approx(float(objective.loss(model, batch)), rel=1e-5)


def test_flops_count_the_output_matrix_where_something_is_learned(
    write_recipe: Callable[..., Path], processor: Processor
) -> None:
    stage, model = built(write_recipe(rows=2, time=32), processor)
    objective = make_objective(stage, processor, model)
    batch = first_batch(objective, stage)
    head = 6 * 320 * 16
    body = model.decoder.flops_per_token(32) - head
    assert model.config.decoder.vocab_size == 320
    assert objective.flops(model, batch) == pytest.approx(64 * body + objective.count(batch) * head)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "masked"}, "'masked' is masked, which needs a bidirectional model"),
        ({"time": 128}, "reads 128 tokens at a time, above the model's 64"),
    ],
)
def test_a_model_that_cannot_serve_is_refused(
    write_recipe: Callable[..., Path], processor: Processor, settings: dict[str, Any], message: str
) -> None:
    _, model = built(write_recipe(), processor)
    stage = Stage(data=({"path": "x"},), budget={"steps": 1}, **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        make_objective(stage, processor, model)
