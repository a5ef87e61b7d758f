"""Two generators of pictures behind one interface: the same by seed, as many as asked for, and what cannot be had."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from making import make_model, scribble

from sensorium.api import Model
from sensorium.config import ModelConfig, PainterConfig, SamplingConfig
from sensorium.errors import RequestError
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.pretrained import Pretrained, coding
from sensorium.inference.generators import AutoregressiveGenerator, GANGenerator, Generator, GeneratorKind
from sensorium.messages import Image, Message, Text
from sensorium.nn.omni import Omni

PAINTER = PainterConfig(size=(16, 24), dims=(8, 12, 6), style_dim=10, noise_dim=4)
ASKED = [Message.user("Draw a red ball.")]


def with_painter(model: Model) -> Model:
    """The same model, which also paints."""
    held = model._pretrained
    config = ModelConfig.parse(dict(held.config) | {"painter": PAINTER}, "test")
    omni = Omni(config)
    omni.reset_parameters(1)
    omni.load_state_dict(omni.state_dict() | held.model.state_dict())
    omni.eval()
    assert held.processor is not None
    able = replace(held, config=config, model=omni, processor=coding(held.processor, omni))
    return Model(able, threads=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return with_painter(make_model(voices=None))


@pytest.fixture(scope="module", params=["autoregressive", "gan"])
def generator(model: Model, request: pytest.FixtureRequest) -> Generator:
    return model.generator(request.param)


def pixels(part: Image) -> np.ndarray:
    assert part.data is not None
    picture = PIL.Image.open(io.BytesIO(part.data))
    assert picture.format == "PNG"
    return np.asarray(picture)


def test_the_same_seed_is_the_same_picture_and_another_is_another(generator: Generator) -> None:
    first, again, other = (generator.generate(ASKED, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (pixels(first[0]) != pixels(other[0])).any()


def test_as_many_pictures_as_asked_for_no_two_alike(generator: Generator) -> None:
    made = generator.generate(ASKED, seed=4, n=3)
    assert len(made) == 3
    assert len({part.data for part in made}) == 3


def test_without_a_seed_every_time_is_new(generator: Generator) -> None:
    assert generator.generate(ASKED, n=3) != generator.generate(ASKED, n=3)


def test_words_and_pictures_of_the_conversation_matter(generator: Generator) -> None:
    shown = [Message.user([scribble(size=(16, 16)), Text("Draw a red ball.")])]
    again = [Message.user([scribble(7, size=(16, 16)), Text("Draw a red ball.")])]
    said = [*ASKED, Message.assistant("Well."), Message.user("画一个球。")]
    made = [generator.generate(asked, seed=1)[0].data for asked in (ASKED, shown, again, said)]
    assert len(set(made)) == 4


def test_each_draws_at_its_own_size(model: Model) -> None:
    assert pixels(model.generator("gan").generate(ASKED, seed=1)[0]).shape == (16, 24, 3)
    assert pixels(model.generator().generate(ASKED, seed=1)[0]).shape == (8, 12, 3)


def test_drawing_by_name_is_the_generator_of_that_name(model: Model) -> None:
    asked = [Message.user([scribble(), Text("Draw a red ball.")])]
    painted = model.draw("Draw a red ball.", image=scribble(), generator="gan", seed=3)
    assert [painted] == model.generator("gan").generate(asked, seed=3)
    several = model.draw("Draw a red ball.", generator="gan", seed=3, pictures=2)
    assert isinstance(several, list)
    assert several == GANGenerator(model).generate(ASKED, seed=3, n=2)
    drawn = model.draw("Draw a red ball.", seed=3)
    assert [drawn] == AutoregressiveGenerator(model).generate(ASKED, seed=3)


def test_a_painting_is_what_the_painter_makes_of_the_prompt(model: Model) -> None:
    prompt = model.processor.encode_messages(ASKED, add_generation_prompt=True)
    pixels_ = model.engine.paint(prompt.token_ids.tolist(), seed=9, n=2)
    omni = model._pretrained.model
    assert omni.painter is not None
    ids = torch.from_numpy(prompt.token_ids).long()[None]
    with torch.inference_mode():
        state = omni.hidden_states(ids)[0, -1]
        expected = omni.painter(state.expand(2, -1), omni.painter.noise(2, torch.Generator().manual_seed(9)))
    torch.testing.assert_close(pixels_, expected, rtol=1e-4, atol=1e-5)


def test_a_saved_painter_paints_the_same(model: Model, tmp_path: Any) -> None:
    save_pretrained(model._pretrained, tmp_path / "model")
    again = Model(load_pretrained(tmp_path / "model"), threads=1)
    assert again.generator("gan").generate(ASKED, seed=3) == model.generator("gan").generate(ASKED, seed=3)


def test_a_model_without_the_part_says_so() -> None:
    able, plain = make_model(voices=None), make_model(voices=None, draws=False)
    with pytest.raises(RequestError, match=r"maker cannot paint in one pass: it has no painter \(config: painter\)"):
        able.generator("gan")
    with pytest.raises(RequestError, match="has no painter"):
        able.draw("Draw.", generator="gan")
    with pytest.raises(RequestError, match="has no painter"):
        able.engine.paint([1, 2])
    with pytest.raises(RequestError, match="cannot draw code by code: it has no image codec"):
        plain.generator()


def test_what_a_painter_cannot_take_is_refused(model: Model) -> None:
    paint = model.generator("gan")
    with pytest.raises(RequestError, match="n = 0 is outside 1"):
        paint.generate(ASKED, n=0)
    with pytest.raises(RequestError, match="seed = -1 is outside"):
        paint.generate(ASKED, seed=-1)
    with pytest.raises(RequestError, match="longer than the model's context of 512"):
        paint.generate([Message.user("Draw a ball. " * 300)])
    with pytest.raises(RequestError, match="image_temperature means nothing to a painter"):
        model.draw("Draw.", generator="gan", image_temperature=0.5)
    unknown: GeneratorKind = "diffusion"  # type: ignore[assignment]
    with pytest.raises(RequestError, match="generator = 'diffusion'"):
        model.generator(unknown)


def test_sampling_of_the_autoregressive_one_is_its_own(model: Model) -> None:
    greedy = AutoregressiveGenerator(model, image_temperature=0.0)
    assert greedy.generate(ASKED, seed=1) == greedy.generate(ASKED, seed=2)
    assert isinstance(model._pretrained, Pretrained)
    assert model._pretrained.sampling == SamplingConfig(seed=3)
