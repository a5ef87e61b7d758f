"""The whole model: what it asks of its media, how it is drawn, and how it compares words, pictures and recordings."""

from __future__ import annotations

from dataclasses import replace

import fusing
import pytest
import torch
from torch import Tensor

from sensorium.config import EmbedderConfig, ModelConfig
from sensorium.errors import ConfigError, RequestError
from sensorium.nn.media import Media
from sensorium.nn.omni import Omni

fusions = pytest.mark.parametrize("fusion", fusing.FUSIONS)


def shown(model: Omni) -> tuple[Tensor, Media]:
    ids, _, media = fusing.document(model.config, "wiwaw", 1)
    return ids, media


def places(*rows: tuple[int, int, int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


@fusions
def test_a_feature_or_a_position_too_many_is_an_error_before_anything_is_computed(fusion: str) -> None:
    model = fusing.build(fusion)
    ids, media = shown(model)
    for module in model.modules():
        module.register_forward_pre_hook(lambda *_: pytest.fail("something was computed"))
    n = model.config.image_places()
    assert media.images is not None
    assert media.audio is not None
    wrong = {
        "1 picture for 0 places": replace(media, image_places=places()),
        "0 pictures for 1 places": replace(media, images=None),
        "2 pictures for 1 places": replace(media, images=media.images.repeat(2, 1, 1, 1)),
        "0 recordings for 1 places": replace(media, audio=None),
        "1 recording for 2 lengths in frames": replace(media, audio_frames=torch.tensor([20, 20])),
        f"picture 0 has {n} features for {n + 1} placeholders": replace(media, image_places=places((0, 3, n + 1))),
        "recording 0 has .* for 9 placeholders": replace(media, audio_places=places((0, 8, 9))),
        f"{n} placeholders from position {ids.shape[1]} of row 0": replace(
            media, image_places=places((0, ids.shape[1], n))
        ),
        "of row 1 lie outside a batch of 1 rows": replace(media, image_places=places((1, 0, n))),
        "from position -1 of row 0": replace(media, image_places=places((0, -1, n))),
        "two features would take position": replace(
            media, images=media.images.repeat(2, 1, 1, 1), image_places=places((0, 3, n), (0, 3 + n - 1, n))
        ),
    }
    for message, given in wrong.items():
        with pytest.raises(RequestError, match=message) as caught:
            model.loss(ids, ids, given)
        assert "\n" not in str(caught.value)


def test_a_model_without_eyes_or_ears_says_so() -> None:
    config = fusing.make_config()
    ids, media = shown(Omni(config))
    assert media.images is not None
    assert media.audio is not None
    blind = fusing.randomised(Omni(config.model_copy(update={"vision": None})))
    deaf = fusing.randomised(Omni(config.model_copy(update={"speech": None})))
    with pytest.raises(RequestError, match="this model cannot see"):
        blind.logits(ids, media)
    with pytest.raises(RequestError, match="this model cannot hear"):
        deaf.logits(ids, media)
    for call in (lambda: blind.see(media.images), lambda: blind.embed_images(media.images)):
        with pytest.raises(RequestError, match="cannot see"):
            call()
    for call in (
        lambda: deaf.hear(media.audio, media.audio_frames),
        lambda: deaf.embed_audio(media.audio, media.audio_frames),
    ):
        with pytest.raises(RequestError, match="cannot hear"):
            call()
    with pytest.raises(RequestError, match="does not spell"):
        deaf.spell(media.audio, media.audio_frames)
    with pytest.raises(RequestError, match="no common space"):
        Omni(config.model_copy(update={"embedder": None})).embed_text(ids)


def test_cross_attention_rarer_than_there_are_blocks_is_refused() -> None:
    config = fusing.make_config("cross")
    rare = config.model_copy(update={"fusion": config.fusion.model_copy(update={"every": 5})})
    with pytest.raises(ConfigError, match=r"fusion.every = 5 exceeds the decoder's 4 layers"):
        Omni(rare)


@fusions
def test_fresh_weights_are_the_same_for_the_same_seed_and_the_decoders_whatever_joins_it(fusion: str) -> None:
    config = fusing.make_config(fusion)
    model, again, alone = Omni(config), fusing.build(fusion), Omni(ModelConfig(decoder=config.decoder))
    model.reset_parameters(5)
    again.reset_parameters(5)
    alone.reset_parameters(5)
    weights = model.state_dict()
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    for name, weight in alone.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    model.reset_parameters(6)
    assert not torch.equal(model.decoder.head.weight, alone.decoder.head.weight)


def test_a_fresh_model_predicts_almost_evenly_whatever_it_is_shown() -> None:
    for fusion in fusing.FUSIONS:
        model = Omni(fusing.make_config(fusion)).eval()
        model.reset_parameters(0)
        ids, media = shown(model)
        with torch.no_grad():
            entropy = -(p := model.logits(ids, media).softmax(-1)).log().mul(p).sum(-1)
        assert entropy.min() > 0.97 * torch.tensor(float(fusing.VOCABULARY)).log(), fusion


def test_no_medium_in_a_batch_is_none_at_all() -> None:
    model = fusing.build()
    ids, _ = shown(model)
    with torch.no_grad():
        assert torch.equal(model.logits(ids, Media()), model.logits(ids))
        assert model.perceive(Media(), rows=1, time=4) is None


def test_vectors_are_of_length_one_and_of_one_space() -> None:
    model = fusing.build()
    ids, media = shown(model)
    assert media.images is not None
    assert media.audio is not None
    with torch.no_grad():
        vectors = [
            model.embed_text(ids),
            model.embed_images(media.images),
            model.embed_audio(media.audio, media.audio_frames),
        ]
    for vector in vectors:
        assert vector.shape == (1, 8)
        assert vector.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert model.embedder is not None
    with torch.no_grad():
        model.embedder.logit_scale.fill_(9.0)
    assert model.embedder.scale().item() == pytest.approx(100.0)
    assert model.embedder.bias() == 0.0


@pytest.mark.parametrize("pool", ["mean", "last", "eos"])
def test_the_vector_of_a_text_is_the_same_in_a_padded_batch(pool: str) -> None:
    config = fusing.make_config("cross")
    settings = EmbedderConfig(dim=8, text_pool=pool, eos_id=7 if pool == "eos" else None, logit_bias=True)
    model = fusing.randomised(Omni(config.model_copy(update={"embedder": settings})))
    texts = [torch.tensor([[3, 9, 7, 4, 7]]), torch.tensor([[5, 7, 2]])]
    batch = torch.tensor([[3, 9, 7, 4, 7, 7], [5, 7, 2, 7, 7, 7]])
    padding = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]], dtype=torch.bool)
    with torch.no_grad():
        together = model.embed_text(batch, padding)
        for row, text in zip(together, texts, strict=True):
            assert torch.allclose(row, model.embed_text(text)[0], atol=1e-5)
        states = model.decoder(texts[0])[0]
        assert model.embedder is not None
        expected = model.embedder.text({"mean": states.mean(0), "last": states[4], "eos": states[2]}[pool])
        assert torch.allclose(together[0], expected / expected.norm(), atol=1e-5)


def test_what_is_heard_is_spelled_from_the_real_frames() -> None:
    model = fusing.build()
    _, _, media = fusing.document(model.config, "wawaa", 2)
    assert media.audio is not None
    with torch.no_grad():
        scores, lengths = model.spell(media.audio, media.audio_frames)
    assert scores.shape[::2] == (3, 257)
    assert lengths.tolist() == [model.config.audio_places(frames) for frames in media.audio_frames.tolist()]


def test_recordings_of_different_length_do_not_disturb_each_other() -> None:
    model = fusing.build()
    _, _, media = fusing.document(model.config, "wawaa", 2)
    assert media.audio is not None
    frames = media.audio_frames
    with torch.no_grad():
        together, lengths = model.hear(media.audio, frames)
        for index, (vectors, length) in enumerate(zip(together, lengths.tolist(), strict=True)):
            alone, _ = model.hear(media.audio[index : index + 1, :, : frames[index]], frames[index : index + 1])
            assert torch.allclose(vectors[:length], alone[0], atol=1e-4)


def test_places_stay_where_they_are_counted_when_pictures_go_to_a_device() -> None:
    media = fusing.document(fusing.make_config(), "wiwaw", 1)[2].to("meta")
    assert media.images is not None
    assert media.audio is not None
    assert media.images.device.type == media.audio.device.type == "meta"
    for counted in (media.image_places, media.audio_places, media.audio_frames):
        assert counted.device.type == "cpu"
