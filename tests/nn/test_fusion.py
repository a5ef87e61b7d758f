"""What must always hold of the four ways in which pictures and recordings meet the words."""

from __future__ import annotations

from typing import Any

import fusing
import pytest
import torch
from torch import Tensor

from sensorium.errors import RequestError
from sensorium.nn.fusion import Branches
from sensorium.nn.media import Media
from sensorium.nn.omni import Omni

PLANS = ("wiwaw", "ww", "iwiw", "waw", "wawiaiw")

fusions = pytest.mark.parametrize("fusion", fusing.FUSIONS)
decoders = pytest.mark.parametrize("decoder", fusing.DECODERS)


def logprobs(model: Omni, input_ids: Tensor, media: Media | None = None, **how: Any) -> Tensor:
    with torch.no_grad():
        return model.logits_of(model.hidden_states(input_ids, media, **how)).log_softmax(-1)


def gradients(model: Omni, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_near(ours: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.1
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@decoders
@fusions
def test_packed_loss_and_gradients_equal_those_of_each_document(fusion: str, decoder: str) -> None:
    model = fusing.build(fusion, decoder)
    documents = [fusing.document(model.config, plan, seed) for seed, plan in enumerate(PLANS)]
    batch = fusing.packed([documents[:2], documents[2:4], documents[4:]], 46)
    loss = model.loss(**batch)
    alone = torch.stack([model.loss(ids, targets, media) for ids, targets, media in documents]).sum()
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-4)
    ours, expected = gradients(model, loss), gradients(model, alone)
    assert ours.keys() == expected.keys()
    rounding = 1e-6 * max(grad.norm() for grad in expected.values())
    for name, grad in expected.items():
        assert (ours[name] - grad).norm() <= 1e-4 * grad.norm() + rounding, name


@decoders
@fusions
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_cached_equals_uncached_however_the_prompt_is_cut(fusion: str, decoder: str, chunk: int) -> None:
    model = fusing.build(fusion, decoder)
    ids, _, media = fusing.document(model.config, "wiwawiww", 4)
    expected = logprobs(model, ids, media)
    prompt, time = ids.shape[1] - 4, ids.shape[1]
    with torch.no_grad():
        features = model.perceive(media, rows=1, time=prompt)
        assert features is not None
        cache = model.new_cache(1, 64, features)
        found = []
        for start in [*range(0, prompt, chunk), *range(prompt, time)]:
            stop = min(start + chunk, prompt) if start < prompt else start + 1
            inside = features.between(start, stop) if start < prompt else None
            positions = torch.arange(start, stop)[None]
            found.append(logprobs(model, ids[:, start:stop], inside, positions=positions, cache=cache))
    assert_near(torch.cat(found, dim=1), expected)


@fusions
def test_rows_of_a_cache_may_be_repeated_left_out_and_given_more_room(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, _, media = fusing.document(model.config, "iwaw", 2)
    time = ids.shape[1]
    follow = torch.tensor([[3, 4], [5, 6], [9, 8]])
    with torch.no_grad():
        features = model.perceive(media, rows=1, time=time)
        cache = model.new_cache(1, time, features)
        logprobs(model, ids, features, positions=torch.arange(time)[None], cache=cache)
        cache = cache.rows(torch.tensor([0, 0, 0])).grown(time + 4)
        position = torch.full((3, 1), time)
        logprobs(model, follow[:, :1], positions=position, cache=cache)
        cache = cache.rows(torch.tensor([2, 0]))
        found = logprobs(model, follow[[2, 0], 1:], positions=position[:2] + 1, cache=cache)
    for row, words in zip(found, follow[[2, 0]], strict=True):
        expected = logprobs(model, torch.cat((ids, words[None]), dim=1), media)
        assert_near(row[0], expected[0, -1])


@pytest.mark.parametrize("fusion", ["cross", "decision", "vote"])
def test_a_cache_that_would_forget_a_picture_is_refused(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, _, media = fusing.document(model.config, "wiwaw", 1)
    time = ids.shape[1]
    features = model.perceive(media, rows=1, time=time)
    assert features is not None
    caches = [model.new_cache(1, time)]
    if fusion != "cross":
        caches.append(model.new_cache(1, time, features.of(heard=True)))
    for cache in caches:
        with pytest.raises(RequestError, match="would forget them"):
            model.hidden_states(ids, features, positions=torch.arange(time)[None], cache=cache)


@fusions
def test_batched_equals_single(fusion: str) -> None:
    model = fusing.build(fusion)
    documents = [fusing.document(model.config, plan, seed) for seed, plan in enumerate(PLANS)]
    batch = fusing.packed([[document] for document in documents], 40)
    together = logprobs(model, batch["input_ids"], batch["media"])
    for row, (ids, _, media) in zip(together, documents, strict=True):
        assert_near(row[: ids.shape[1]], logprobs(model, ids, media)[0])


@fusions
def test_padding_changes_nothing(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, _, media = fusing.document(model.config, "wiwaw", 1)
    time = ids.shape[1]
    padded = torch.cat((ids, torch.full((1, 5), 9)), dim=1)
    padding = torch.arange(time + 5)[None] < time
    assert_near(logprobs(model, padded, media, padding=padding)[:, :time], logprobs(model, ids, media))


@fusions
def test_no_token_sees_a_picture_or_recording_that_comes_later(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, _, media = fusing.document(model.config, "wawiw", 1)
    (_, start, _) = media.image_places[0].tolist()
    assert media.images is not None
    other = Media(media.images + 1, media.image_places, media.audio, media.audio_frames, media.audio_places)
    before, after = logprobs(model, ids, media), logprobs(model, ids, other)
    torch.testing.assert_close(after[:, :start], before[:, :start], rtol=1e-5, atol=1e-5)
    assert (after - before)[:, start:].abs().amax(-1).min() > 1e-3


@fusions
def test_every_weight_learns_from_pictures_and_recordings(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, targets, media = fusing.document(model.config, "wiwawiaw", 1)
    grads = gradients(model, model.loss(ids, targets, media))
    idle = {
        name
        for name, _ in model.named_parameters()
        if name not in grads and not name.startswith(("embedder.", "speech.ctc"))
    }
    assert idle == set()
    assert all(grad.abs().max() > 0 for name, grad in grads.items() if not name.endswith((".k.bias", "qk_norm.bias")))


@fusions
def test_text_alone_is_read_as_by_the_decoder_alone(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, targets, _ = fusing.document(model.config, "wwww", 1)
    with torch.no_grad():
        assert torch.equal(model.logits(ids), model.decoder.logits(model.decoder(ids)))
        assert torch.equal(model.loss(ids, targets), model.decoder.loss(ids, targets))
    # In a batch with pictures too: only rounding may differ.
    documents = [fusing.document(model.config, plan, 1) for plan in ("wwww", "wiwaw")]
    batch = fusing.packed([[document] for document in documents], 24)
    expected = model.decoder.logits(model.decoder(ids)).log_softmax(-1)
    assert_near(logprobs(model, batch["input_ids"], batch["media"])[0, :12], expected[0].detach())


def test_features_stand_in_place_of_their_tokens_unscaled() -> None:
    model = fusing.build("feature")
    ids, _, media = fusing.document(model.config, "wiw", 1)
    seen = []
    model.decoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model.hidden_states(ids, media)
        assert media.images is not None
        vectors = model.see(media.images)[0]
        words = model.decoder.embeddings.token(ids)[0] * 4.0
    assert torch.equal(seen[0][0, 3:7], vectors)
    assert torch.equal(seen[0][0, :3], words[:3])
    assert torch.equal(seen[0][0, 7:], words[7:])


def test_learned_positions_are_added_to_features_too() -> None:
    model = fusing.build("feature", "gpt2")
    ids, _, media = fusing.document(model.config, "wiw", 1)
    seen = []
    model.decoder.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model.hidden_states(ids, media)
        assert media.images is not None
        assert model.decoder.embeddings.position is not None
        expected = model.see(media.images)[0] + model.decoder.embeddings.position.weight[3:7]
    torch.testing.assert_close(seen[0][0, 3:7], expected)


def test_a_fresh_cross_fusion_leaves_a_frozen_decoder_as_it_was() -> None:
    model = Omni(fusing.make_config("cross"))
    model.reset_parameters(2)
    ids, targets, media = fusing.document(model.config, "wiwaw", 1)
    with torch.no_grad():
        assert torch.equal(model.logits(ids, media), model.decoder.logits(model.decoder(ids)))
    model.decoder.requires_grad_(False)
    grads = gradients(model, model.loss(ids, targets, media))
    gates = {name for name in grads if name.endswith("_gate")}
    assert gates == {f"fusion.layers.{n}.{part}_gate" for n in range(2) for part in ("attention", "mlp")}
    assert all(grads[name].abs().max() > 0 for name in gates)
    assert not any(name.startswith("decoder.") for name in grads)


def test_cross_fusion_tells_which_picture_came_first() -> None:
    model = fusing.build("cross")
    ids, _, media = fusing.document(model.config, "iwiww", 1)
    assert media.images is not None
    swapped = Media(media.images.flip(0), media.image_places)
    assert (logprobs(model, ids, media) - logprobs(model, ids, swapped))[0, -1].abs().max() > 1e-2


def test_decision_weighs_the_branches_that_have_something_to_say() -> None:
    model = fusing.build("vote")
    ids, _, media = fusing.document(model.config, "wiwaw", 1)
    image, recording = media.image_places[0, 1].item(), media.audio_places[0, 1].item()
    with torch.no_grad():
        states = model.hidden_states(ids, media)
    assert isinstance(states, Branches)
    weights = states.log_weights.exp()[:, 0].T
    assert torch.equal(weights[:image], torch.tensor([1.0, 0, 0]).expand(image, 3))
    assert torch.equal(weights[image:recording], torch.tensor([0.5, 0.5, 0]).expand(recording - image, 3))
    torch.testing.assert_close(weights[recording:], torch.full((ids.shape[1] - recording, 3), 1 / 3))
    gated = fusing.build("decision")
    with torch.no_grad():
        states = gated.hidden_states(ids, media)
    assert isinstance(states, Branches)
    assert states.log_weights.exp().sum(0).allclose(torch.ones(ids.shape))
    assert states.log_weights[:, 0, -1].std() > 0.1


def test_each_branch_of_decision_is_blind_to_the_other_medium() -> None:
    model = fusing.build("decision")
    ids, _, media = fusing.document(model.config, "wiwaw", 1)
    assert media.images is not None
    other = Media(media.images + 1, media.image_places, media.audio, media.audio_frames, media.audio_places)
    with torch.no_grad():
        before, after = model.hidden_states(ids, media), model.hidden_states(ids, other)
    assert isinstance(before, Branches)
    assert isinstance(after, Branches)
    moved = (before.states - after.states).abs().amax((1, 2, 3))
    assert moved[[0, 2]].max() < 1e-5
    assert moved[1] > 0.1


def test_the_mixture_is_of_probabilities_and_its_loss_exact() -> None:
    model = fusing.build("decision")
    ids, targets, media = fusing.document(model.config, "wiwaw", 1)
    with torch.no_grad():
        states = model.hidden_states(ids, media)
        assert isinstance(states, Branches)
        each = model.decoder.logits(states.states).double().softmax(-1)
        mixture = (each * states.log_weights.exp()[..., None]).sum(0)
        assert_near(model.logits(ids, media).double(), mixture.log())
        learned = targets >= 0
        expected = -mixture[learned].gather(1, targets[learned][:, None]).log().sum()
        assert float(model.loss(ids, targets, media)) == pytest.approx(float(expected), rel=1e-5)
        nothing = model.loss(ids, torch.full_like(ids, -100), media)
    assert nothing.item() == 0.0


@fusions
def test_checkpointed_activations_give_the_same_gradients(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, targets, media = fusing.document(model.config, "wiwaw", 1)
    expected = gradients(model, model.loss(ids, targets, media))
    model.decoder.checkpoint_activations = True
    ours = gradients(model, model.loss(ids, targets, media))
    assert ours.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(ours[name], grad, rtol=1e-5, atol=1e-5)


def test_operations_are_counted_for_what_each_fusion_reads() -> None:
    media = fusing.document(fusing.make_config("feature"), "wiwaw", 1)[2]
    size = {"rows": 2, "time": 20, "learned": 8}
    models = {fusion: fusing.build(fusion) for fusion in fusing.FUSIONS}
    alone = {fusion: model.flops(**size, media=Media()) for fusion, model in models.items()}
    decoder = models["feature"].decoder
    head = 6.0 * decoder.head.weight.numel()
    assert set(alone.values()) == {40 * (decoder.flops_per_token(20) - head) + 8 * head}
    fused = {fusion: model.flops(**size, media=media) / alone[fusion] for fusion, model in models.items()}
    assert fused["early"] == fused["feature"] == 1.0
    assert fused["decision"] == fused["vote"] == 3.0
    # Two more layers on top of four, each of attention and an MLP, whose keys and values are of nine features only.
    assert 1.3 < fused["cross"] < 1.6
    layer = models["cross"].fusion.layers[0]
    read = sum(part.weight.numel() for part in (layer.attention.q, layer.attention.o))
    mlp = sum(part.weight.numel() for part in layer.mlp.modules() if isinstance(part, torch.nn.Linear))
    kept = sum(part.weight.numel() for part in (layer.attention.k, layer.attention.v))
    vectors = 4 + models["cross"].config.speech.n_places(int(media.audio_frames[0]))
    expected = 2 * (6 * (40 * (read + mlp) + vectors * kept) + 6 * 32 * 20 * vectors)
    assert models["cross"].flops(**size, media=media) == pytest.approx(alone["cross"] + expected)
