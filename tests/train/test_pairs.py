"""What pairs teach: losses as their papers write them, batches that can be made again, and what is no pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media_parts import picture, tone
from pairing import EARS, EYES, PARTS, pairs_file, played, shown
from torch import Tensor
from torch.nn import functional as F
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from sensorium.config import AugmentConfig
from sensorium.data.pairs import PADDING, PairBatch, PairStream
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError, DataError
from sensorium.messages import Image, Text
from sensorium.nn.omni import Omni
from sensorium.processing.media import media_of
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer
from sensorium.train import Callback, load_recipe, train
from sensorium.train.callbacks import ValidationMetrics
from sensorium.train.objectives import make_objective
from sensorium.train.pairs import media_flops, spelled
from sensorium.train.recipe import Stage
from sensorium.train.start import first_model

CPU = torch.device("cpu")
WRITE = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    """Losses are read, not followed back."""
    with torch.no_grad():
        yield


@pytest.fixture
def processor(corpus: Path) -> Processor:
    return Processor(Tokenizer.train([corpus.read_text(encoding="utf-8")], 320))


def built(path: Path, processor: Processor) -> tuple[Any, Omni, Stage, Processor]:
    """An objective with its model, every weight of which is large enough to matter."""
    recipe = load_recipe(path)
    model = first_model(recipe, processor, CPU).model
    generator = torch.Generator().manual_seed(5)
    for weight in model.parameters():
        weight += 0.2 * torch.randn(weight.shape, generator=generator)
    able = processor.with_config(model.config)
    return make_objective(recipe.stages[0], able, model.eval()), model, recipe.stages[0], able


def matching(write_recipe: WRITE, processor: Processor, tmp_path: Path, **settings: Any) -> tuple[Any, Omni]:
    data = pairs_file(tmp_path / "seen.jsonl", [shown(index) for index in range(24)])
    path = write_recipe(**{"objective": "contrastive", "rows": 6, **PARTS, "data": [data], **settings})
    objective, model, _, _ = built(path, processor)
    return objective, model


def batch_of(captions: list[str], processor: Processor, model: Omni) -> PairBatch:
    """Pictures of as many colours with these captions."""
    able = processor.with_config(model.config)
    features = [able.features(shown(index)[0]) for index in range(len(captions))]
    units = [able.encode_text(caption).token_ids.tolist() for caption in captions]
    texts = torch.full((len(units), max(map(len, units))), PADDING)
    for row, ids in enumerate(units):
        texts[row, : len(ids)] = torch.tensor(ids)
    return PairBatch(media_of(features), texts, torch.tensor([sorted(set(captions)).index(each) for each in captions]))


def cosines(model: Omni, batch: PairBatch) -> Tensor:
    """(texts, pictures), each text embedded by itself, so that no padding stands beside it."""
    texts = [model.embed_text(row[None, : int(length)]) for row, length in zip(batch.texts, batch.lengths, strict=True)]
    assert batch.media.images is not None
    return torch.cat(texts) @ model.embed_images(batch.media.images).T


def test_the_loss_of_clip_is_the_published_one(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    objective, model = matching(write_recipe, processor, tmp_path)
    batch = batch_of(["one", "a cat", "the old king sees", "two", "a red ball"], processor, model)
    assert model.embedder is not None
    expected = image_text_contrastive_loss(model.embedder.logit_scale.exp() * cosines(model, batch))
    assert objective.count(batch) == 5
    assert float(objective.loss(model, batch)) / 5 == pytest.approx(float(expected), rel=1e-5)
    assert objective.n_bytes(batch) == 0


def test_the_scale_of_clip_stops_at_a_hundred(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    objective, model = matching(write_recipe, processor, tmp_path)
    batch = batch_of(["one", "a cat", "two"], processor, model)
    assert model.embedder is not None
    torch.nn.init.constant_(model.embedder.logit_scale, 9.0)
    expected = image_text_contrastive_loss(100.0 * cosines(model, batch))
    assert float(objective.loss(model, batch)) / 3 == pytest.approx(float(expected), rel=1e-4)


def test_the_loss_of_siglip_is_the_published_one(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    settings = {"loss": "siglip", "embedder": {"dim": 12, "logit_bias": True}}
    objective, model = matching(write_recipe, processor, tmp_path, **settings)
    batch = batch_of(["one", "a cat", "the old king sees", "two", "a red ball"], processor, model)
    assert model.embedder is not None
    assert model.embedder.logit_bias is not None
    # As in the appendix of the paper: signs are 1 on the diagonal and -1 beside it, the sum is divided by the rows.
    logits = model.embedder.logit_scale.exp() * cosines(model, batch) + model.embedder.logit_bias
    expected = -F.logsigmoid((2 * torch.eye(5) - 1) * logits).sum() / 5
    assert float(objective.loss(model, batch)) / 5 == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_pairs_with_the_same_text_are_no_negatives_of_each_other(
    write_recipe: WRITE, processor: Processor, tmp_path: Path, loss: str
) -> None:
    settings = {"loss": loss, "embedder": {"dim": 12, "logit_bias": loss == "siglip"}}
    objective, model = matching(write_recipe, processor, tmp_path, **settings)
    captions = ["one", "a cat", "one", "two"]
    batch = batch_of(captions, processor, model)
    assert model.embedder is not None
    logits = model.embedder.scale() * cosines(model, batch) + model.embedder.bias()
    expected = 0.0
    for row, caption in enumerate(captions):
        others = [place for place, other in enumerate(captions) if place != row and other != caption]
        if loss == "siglip":
            expected -= float(F.logsigmoid(logits[row, row]) + F.logsigmoid(-logits[others, row]).sum())
        else:
            for scores in (logits[row], logits[:, row]):
                expected -= float(scores[[row, *others]].log_softmax(0)[0]) / 2
    assert float(objective.loss(model, batch)) == pytest.approx(expected, rel=1e-5)


def test_a_lone_pair_has_nothing_to_be_told_from(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> None:
    objective, model = matching(write_recipe, processor, tmp_path)
    assert float(objective.loss(model, batch_of(["one"], processor, model))) == 0.0
    batch = batch_of(["one", "one"], processor, model)
    assert float(objective.loss(model, batch)) == 0.0


def test_recordings_and_pictures_stand_beside_their_own_texts(
    write_recipe: WRITE, processor: Processor, tmp_path: Path
) -> None:
    data = pairs_file(tmp_path / "both.jsonl", [(shown, played)[index % 2](index) for index in range(12)])
    objective, model = matching(write_recipe, processor, tmp_path, data=[data])
    (batch,) = islice(objective.stream([DatasetSpec.parse(data, "test")], rows=8, seed=1, repeat=True), 1)
    assert batch.media.images is not None
    assert batch.media.audio is not None
    texts, media = objective._vectors(model, batch)
    assert texts.shape == media.shape == (8, 12)
    for place, row in enumerate(batch.media.image_places[:, 0].tolist()):
        torch.testing.assert_close(media[row], model.embed_images(batch.media.images[place : place + 1])[0])
    for place, row in enumerate(batch.media.audio_places[:, 0].tolist()):
        frames = batch.media.audio_frames[place : place + 1]
        alone = batch.media.audio[place : place + 1, :, : int(frames)]
        torch.testing.assert_close(media[row], model.embed_audio(alone, frames)[0], rtol=1e-4, atol=1e-5)
    words = [processor.tokenizer.decode(row[row >= 0].tolist()) for row in batch.texts]
    assert [words[row].startswith("tone") for row in range(8)] == [
        row in batch.media.audio_places[:, 0].tolist() for row in range(8)
    ]
    assert objective.flops(model, batch) > media_flops(model, batch.media) > 0


def spelling(write_recipe: WRITE, processor: Processor, tmp_path: Path) -> tuple[Any, Omni]:
    data = pairs_file(tmp_path / "heard.jsonl", [played(index) for index in range(8)])
    path = write_recipe(objective="ctc", rows=4, vision=None, speech=EARS, data=[data])
    objective, model, _, _ = built(path, processor)
    return objective, model


def paths(n_places: int, text: list[int]) -> list[list[int]]:
    """Every way to write a text in so many places, by blanks (0) and repetition: by brute force."""
    classes = sorted({0, *text})
    found = []
    for code in range(len(classes) ** n_places):
        path = [classes[code // len(classes) ** place % len(classes)] for place in range(n_places)]
        merged = [each for place, each in enumerate(path) if place == 0 or path[place - 1] != each]
        if [each for each in merged if each] == text:
            found.append(path)
    return found


def test_ctc_is_the_surprise_at_all_ways_to_spell_a_text(
    write_recipe: WRITE, processor: Processor, tmp_path: Path
) -> None:
    objective, model = spelling(write_recipe, processor, tmp_path)
    able = processor.with_config(model.config)
    (feature,) = able.features(tone(0.25))
    text = spelled("Oh O")[:3]
    batch = PairBatch(media_of([[feature]]), torch.tensor([text]), torch.tensor([0]))
    assert batch.media.audio is not None
    scores, lengths = model.spell(batch.media.audio, batch.media.audio_frames)
    n_places = int(lengths)
    assert 5 <= n_places <= 8
    chances = scores[0, :n_places].double().softmax(-1)
    ways = paths(n_places, [byte + 1 for byte in text])
    total = sum(float(chances[torch.arange(n_places), torch.tensor(way)].prod()) for way in ways)
    assert float(objective.loss(model, batch)) == pytest.approx(-np.log(total), rel=1e-4)
    assert objective.count(batch) == objective.n_bytes(batch) == 3
    assert objective.flops(model, batch) == media_flops(model, batch.media)


def test_a_recording_too_short_for_its_text_counts_nothing(
    write_recipe: WRITE, processor: Processor, tmp_path: Path
) -> None:
    objective, model = spelling(write_recipe, processor, tmp_path)
    able = processor.with_config(model.config)
    features = [able.features(tone(seconds)) for seconds in (0.2, 0.2, 0.5)]
    assert model.config.speech is not None
    room = model.config.speech.encoder.n_features(features[0][0].values.shape[1])

    def batch(*texts: str) -> PairBatch:
        rows = torch.full((len(texts), max(map(len, texts))), PADDING)
        for row, text in enumerate(texts):
            rows[row, : len(text)] = torch.tensor(spelled(text))
        return PairBatch(media_of(features[-len(texts) :]), rows, torch.arange(len(texts)))

    fits, twice, longer = "abcdefghij"[:room], "aabcdefghij"[:room], "abcdefghijk"[: room + 1]
    for text, counted in ((fits, room), (twice, 0), (longer, 0)):
        assert objective.count(batch(text, "hello")) == counted + 5
        gained = float(objective.loss(model, batch(text, "hello")) - objective.loss(model, batch("hello")))
        assert (gained > 1e-3) == (counted > 0)


@pytest.mark.parametrize(("text", "expected"), [("Hello  World\n", b"hello world"), ("Ä", "ä".encode()), (" ", b"")])
def test_spelling_folds_case_and_blanks(text: str, expected: bytes) -> None:
    assert bytes(spelled(text)) == expected


def stream_of(processor: Processor, *specs: DatasetSpec, **settings: Any) -> PairStream:
    settings = {"rows": 3, "seed": 2, **settings}
    return PairStream(specs, processor, spelled, **settings)


def same(one: PairBatch, other: PairBatch) -> bool:
    mine, theirs = ([batch.texts, batch.keys, *vars(batch.media).values()] for batch in (one, other))
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b
        for a, b in zip(mine, theirs, strict=True)
    )


@pytest.fixture
def able(write_recipe: WRITE, processor: Processor) -> Processor:
    return processor.with_config(first_model(load_recipe(write_recipe(**PARTS)), processor, CPU).config)


@pytest.mark.parametrize("settings", [{"prefetch": 0}, {"prefetch": 2}, {"workers": 1}])
def test_pairs_go_on_bit_for_bit(able: Processor, tmp_path: Path, settings: dict[str, int]) -> None:
    varied = AugmentConfig(brightness=0.5, noise_db=20.0, time_masks=1)
    seen = pairs_file(tmp_path / "a.jsonl", [shown(index) for index in range(8)])
    heard = pairs_file(tmp_path / "b.jsonl", [played(index) for index in range(5)])
    specs = [DatasetSpec(**seen, augment=varied), DatasetSpec(**heard, augment=varied, weight=0.5)]
    stream = stream_of(able, *specs, **settings)
    states, batches = [stream.state_dict()], []
    for batch in islice(stream, 8):
        batches.append(batch)
        states.append(stream.state_dict())
    assert stream.waited > 0
    stream.close()
    assert same(next(stream), next(islice(stream_of(able, *specs, prefetch=0), 8, 9)))  # closed is not ended
    stream.close()
    for step in (0, 3, 7):
        resumed = stream_of(able, *specs, **settings)
        resumed.load_state_dict(states[step])
        assert all(map(same, islice(resumed, 8 - step), batches[step:]))
        assert resumed.state_dict() == states[-1]
        resumed.close()
    drawn = states[-1]["drawn"]
    assert sum(drawn) == 24
    assert drawn[0] == 2 * drawn[1]  # by weight


def test_pairs_that_do_not_repeat_come_once(able: Processor, tmp_path: Path) -> None:
    spec = DatasetSpec(**pairs_file(tmp_path / "a.jsonl", [shown(index) for index in range(8)]))
    batches = list(stream_of(able, spec, repeat=False))
    assert [len(batch.keys) for batch in batches] == [3, 3, 2]
    said = sorted(bytes(row[row >= 0].tolist()).decode() for batch in batches for row in batch.texts)
    assert said == sorted(shown(index)[1] for index in range(8))
    assert all((batch.lengths == (batch.texts >= 0).sum(1)).all() for batch in batches)


def test_a_place_in_other_data_is_refused(able: Processor, tmp_path: Path) -> None:
    spec = DatasetSpec(**pairs_file(tmp_path / "a.jsonl", [shown(index) for index in range(8)]))
    state = stream_of(able, spec).state_dict()
    moved = DatasetSpec(**pairs_file(tmp_path / "moved" / "a.jsonl", [shown(index) for index in range(8)]))
    stream_of(able, moved).load_state_dict(state)  # the same file elsewhere
    more = DatasetSpec(**pairs_file(tmp_path / "a.jsonl", [shown(index) for index in range(9)]))
    for other in (stream_of(able, more), stream_of(able, spec, rows=4), stream_of(able, spec, seed=3)):
        with pytest.raises(DataError, match="belongs to other data or settings"):
            other.load_state_dict(state)


def test_what_is_no_pair_is_counted_and_named(able: Processor, tmp_path: Path) -> None:
    wrong: list[tuple[Any, str]] = [
        (Text("only words"), "a reply"),
        (picture(), " "),
        (Image(data=b"no picture"), "a reply"),
        (tone(1.5), "in two pieces"),
    ]
    spec = DatasetSpec(**pairs_file(tmp_path / "a.jsonl", [*wrong, shown(0)]))
    stream = stream_of(able, spec, repeat=False, prefetch=0)
    assert [len(batch.keys) for batch in stream] == [1]
    found = "\n".join(stream.bad)
    for message in ("not 0 of the one and 1 of the other", "text is empty", "is no picture", "is cut into 2"):
        assert message in found
    with pytest.raises(DataError, match=r"no usable record.*a pair with audio is needed, and this one has image"):
        next(stream_of(able, DatasetSpec(**pairs_file(tmp_path / "b.jsonl", [shown(0)])), kind="audio"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "ctc"}, r"set speech\.ctc: true"),
        ({"objective": "contrastive"}, r"set embedder\.dim"),
        ({"objective": "contrastive", "embedder": {"dim": 8}, "loss": "siglip"}, r"set embedder\.logit_bias"),
    ],
)
def test_a_model_that_cannot_learn_from_pairs_is_refused(
    write_recipe: WRITE, processor: Processor, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        built(write_recipe(vision=EYES, speech={**EARS, "ctc": False}, **settings), processor)


def test_a_text_tower_may_read_both_ways_and_eyes_need_no_projector(write_recipe: WRITE, tmp_path: Path) -> None:
    """As SigLIP's: what only embeds has no place in a conversation, and still learns from pairs."""
    data = pairs_file(tmp_path / "seen.jsonl", [shown(index) for index in range(12)])
    recipe = write_recipe(
        objective="contrastive",
        model={"causal": False},
        vision={**EYES, "projector": None},
        embedder={"dim": 12},
        data=[data],
        validation=[data],
        rows=6,
        budget={"steps": 12},
        lr=0.01,
    )
    losses: list[float] = []

    class Watcher(Callback):
        def on_validation(self, metrics: ValidationMetrics) -> None:
            losses.append(metrics.loss)

    with torch.enable_grad():
        train(load_recipe(recipe, ["eval_every=6"]), tmp_path / "run", device="cpu", callbacks=[Watcher()])
    assert losses[-1] < losses[0]
