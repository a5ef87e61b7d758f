"""The public face, on small models of its own making."""

from __future__ import annotations

import subprocess
import sys
import threading
import wave
from pathlib import Path

import fusing
import numpy as np
import PIL.Image
import pytest
import torch

import sensorium
from sensorium.api import Model
from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig
from sensorium.errors import CheckpointError, DataError, RequestError
from sensorium.hub.pretrained import Pretrained
from sensorium.messages import Audio, Done, Image, Message, Text, TextDelta
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

WORDS = ["The cat sat on the mat. 猫坐在垫子上。 Where is the cat?"] * 4


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(Tokenizer.train(WORDS, 340))


def make(processor: Processor | None, **settings) -> Model:
    config = {
        "vocab_size": 340,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 64,
        "max_positions": 64,
        "tie_embeddings": False,
    }
    omni = Omni(ModelConfig(decoder=TransformerConfig(**{**config, **settings}))).eval()
    omni.reset_parameters(1)
    with torch.no_grad():
        omni.decoder.embeddings.token.weight.mul_(20)
        omni.decoder.head.weight.mul_(20)
    sampling = SamplingConfig(temperature=0.9, max_tokens=12, seed=5)
    return Model(Pretrained(omni.config, omni, processor, sampling, name="small"), threads=1)


@pytest.fixture(scope="module")
def model(processor) -> Model:
    return make(processor)


@pytest.fixture(scope="module")
def bert(processor) -> Model:
    return make(processor, causal=False)


def test_every_accepted_form_of_a_conversation_gets_the_same_answer(model):
    answer = model.chat("Where is it?")
    assert answer.role == "assistant"
    assert len(answer.text) > 5
    assert model.chat(Message.user("Where is it?")) == answer
    assert model.chat([Message.user("Where is it?")]) == answer
    assert model.chat([{"role": "user", "content": "Where is it?"}]) == answer
    assert model.chat([{"role": "user", "content": [{"type": "text", "text": "Where is it?"}]}]) == answer
    assert model.chat([Message.system("Be brief."), {"role": "user", "content": "Where is it?"}]) != answer


def test_chat_is_the_stream_joined(model):
    deltas = list(model.stream("Hello", seed=9))
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == model.chat("Hello", seed=9).text
    assert isinstance(deltas[-1], Done)
    assert sum(isinstance(d, Done) for d in deltas) == 1


def test_several_replies_come_as_a_list_each_that_of_its_own_seed(model):
    replies = model.chat("Hello", n=3, seed=20)
    assert replies == [model.chat("Hello", seed=20 + index) for index in range(3)]
    assert model.complete("The", n=2, seed=1) == [model.complete("The", seed=1), model.complete("The", seed=2)]


def test_settings_not_given_are_the_models_own(model):
    assert model.chat("Hello") == model.chat("Hello", seed=5, temperature=0.9, max_tokens=12)
    assert model.chat("Hello") != model.chat("Hello", seed=6)


def test_a_completion_continues_the_best_tokens_of_the_logits(model):
    ids = model.processor.encode_prompt("The cat").token_ids.tolist()
    first = int(model.logits(ids)[-1].argmax())
    assert model.complete("The cat", temperature=0, max_tokens=1) == model.tokenizer.decode([first])


def test_a_set_event_ends_the_answer(model):
    cancel = threading.Event()
    cancel.set()
    assert model.chat("Hello", cancel=cancel).text == ""


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"temprature": 1}, "unknown key 'temprature' (did you mean 'temperature'?)"),
        ({"temperature": -1}, "temperature = -1"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"top_p": 1.5}, "top_p = 1.5"),
        ({"top_p": 0}, "top_p = 0"),
        ({"top_k": -1}, "top_k = -1"),
        ({"min_p": 2}, "min_p = 2"),
        ({"repetition_penalty": 0}, "repetition_penalty = 0"),
        ({"presence_penalty": 3}, "presence_penalty = 3"),
        ({"frequency_penalty": -3}, "frequency_penalty = -3"),
        ({"max_tokens": 0}, "max_tokens = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"n": 0}, "n = 0"),
        ({"logprobs": 21}, "logprobs = 21"),
        ({"logit_bias": {400: 1.0}}, "logit_bias names token 400"),
        ({"stop": ""}, "empty string"),
    ],
)
def test_a_sampling_value_out_of_range_is_one_line_that_names_it(model, sampling, message):
    with pytest.raises(RequestError) as caught:
        model.chat("Hello", **sampling)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_conversation_longer_than_the_context_names_both_numbers(model):
    with pytest.raises(RequestError, match=r"a prompt of \d{3} tokens leaves no room to answer in .* context of 64"):
        model.chat("cat " * 100)


def test_a_text_model_says_that_it_cannot_see_or_hear(model, tmp_path):
    with pytest.raises(RequestError, match="small cannot see"):
        model.chat("What is this?", image=tmp_path / "cat.png")
    with pytest.raises(RequestError, match="small cannot hear"):
        model.chat("What is this?", audio=b"RIFF")
    with pytest.raises(RequestError, match="small cannot see"):
        model.chat([Message.user([Image(url="https://example.org/cat.png"), Text("What is this?")])])
    with pytest.raises(RequestError, match="image must be a path, bytes or Image, not int"):
        model.chat("What is this?", image=3)


def test_a_malformed_message_is_named_by_its_index(model):
    with pytest.raises(DataError, match="message 1: unknown role 'usr'"):
        model.chat([{"role": "user", "content": "a"}, {"role": "usr", "content": "b"}])
    with pytest.raises(DataError, match="at least one message"):
        model.chat([])


def test_masks_are_filled_with_the_likeliest_tokens(bert):
    filled = bert.fill_mask("The <|mask|> sat on <|mask|>.", top_k=4)
    ids = [bert.tokenizer.bos_id, *bert.tokenizer.encode("The <|mask|> sat on <|mask|>.", controls=True)]
    ids.append(bert.tokenizer.eos_id)
    scores = bert.logits(ids)
    assert len(filled) == 2
    for position, candidates in zip(np.flatnonzero(np.array(ids) == bert.tokenizer.mask_id), filled, strict=True):
        expected = np.exp(scores[position] - scores[position].max())
        expected /= expected.sum()
        best = np.sort(expected)[::-1][:4]
        assert [probability for _, probability in candidates] == pytest.approx(best, rel=1e-4)
        assert candidates[0][0] == bert.tokenizer.decode([int(expected.argmax())])


def test_what_cannot_be_filled_is_refused(model, bert):
    with pytest.raises(RequestError, match=r"the text has no <\|mask\|> to fill"):
        bert.fill_mask("no mask here")
    with pytest.raises(RequestError, match="no BERT-family model"):
        model.fill_mask("The <|mask|>")
    with pytest.raises(RequestError, match="cannot write"):
        bert.chat("Hello")


def test_an_embedding_is_the_unit_vector_of_the_mean_state(bert):
    vector = bert.embed("Where is the cat?")
    assert vector.shape == (32,)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    ids = torch.tensor([bert.processor.encode_text("Where is the cat?").token_ids.tolist()])
    with torch.inference_mode():
        mean = bert._pretrained.model.decoder(ids)[0].mean(0).numpy()
    assert vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    with pytest.raises(RequestError, match="empty"):
        bert.embed("")


def test_a_saved_model_loads_to_equal_logits_and_answers(model, tmp_path):
    model.save(tmp_path / "copy")
    loaded = sensorium.load(tmp_path / "copy", threads=1)
    assert np.array_equal(loaded.logits([1, 40, 50]), model.logits([1, 40, 50]))
    assert loaded.chat("Hello") == model.chat("Hello")


def test_a_model_without_a_tokenizer_takes_token_ids_only():
    bare = make(None)
    assert bare.logits([1, 2]).shape == (2, 340)
    with pytest.raises(RequestError, match="small came without a tokenizer"):
        bare.chat("Hello")


@pytest.fixture(scope="module")
def looker(processor) -> Model:
    """A random model with eyes, ears and a common space."""
    with_places = fusing.make_config(vocab_size=processor.tokenizer.vocab_size, max_positions=256)
    omni = fusing.randomised(Omni(with_places))
    sampling = SamplingConfig(temperature=0.9, max_tokens=12, seed=5)
    return Model(Pretrained(with_places, omni, processor.with_config(with_places), sampling, name="looker"), threads=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    """A picture and a recording."""
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / "sky.png")
    with wave.open(str(folder / "voice.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8_000)
        sound.writeframes(rng.integers(-9000, 9000, 8_000).astype("<i2").tobytes())
    return folder / "sky.png", folder / "voice.wav"


def test_pictures_and_recordings_are_taken_in_every_form(looker, files):
    picture, voice = files
    answer = looker.chat("今天天气怎么样？", image=picture, audio=voice)
    assert answer.text
    assert looker.chat("今天天气怎么样？", image=str(picture), audio=voice.read_bytes()) == answer
    parts = [Image(data=picture.read_bytes()), Audio(path=voice), Text("今天天气怎么样？")]
    assert looker.chat(Message.user(parts)) == answer
    assert looker.chat("今天天气怎么样？") != answer
    deltas = list(looker.stream(Message.user(parts)))
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == answer.text
    replies = looker.chat(Message.user(parts), n=2)
    assert replies[0] == answer


def test_several_pictures_of_a_conversation_are_all_seen(looker, files):
    picture, voice = files
    talk = [Message.user([Image(path=picture), Text("a")]), Message.assistant("b"), Message.user([Audio(path=voice)])]
    assert looker.chat([*talk[:2], Message.user([Audio(path=voice), Image(path=picture)])]) != looker.chat(talk)


def test_a_text_a_picture_and_a_recording_are_embedded_in_one_space(looker, files):
    picture, voice = files
    vectors = [looker.embed(part) for part in ("the sky", picture, voice)]
    for vector, same in zip(vectors, (Text("the sky"), Image(path=picture), Audio(path=voice)), strict=True):
        assert vector.shape == (8,)
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
        assert np.array_equal(vector, looker.embed(same))


def test_what_cannot_be_embedded_is_refused(model, looker, files, tmp_path):
    picture, _ = files
    with pytest.raises(RequestError, match="small cannot see: what is to be embedded is a picture"):
        model.embed(picture)
    with pytest.raises(RequestError, match=r"notes.txt is by its name no picture or recording"):
        looker.embed(tmp_path / "notes.txt")
    with pytest.raises(RequestError, match="must be a string, a Path, Text, Image or Audio, not int"):
        looker.embed(3)
    bare = looker.config.model_copy(update={"embedder": None})
    plain = Model(Pretrained(bare, fusing.randomised(Omni(bare)), looker.processor, name="plain"), threads=1)
    with pytest.raises(RequestError, match="plain cannot embed a picture: it has no common space"):
        plain.embed(picture)
    deaf = looker.config.model_copy(update={"speech": None})
    seer = Model(Pretrained(deaf, Omni(deaf).eval(), looker.processor.with_config(deaf), name="seer"), threads=1)
    with pytest.raises(RequestError, match=r"seer cannot hear: the conversation holds a recording, .* has no ears"):
        seer.chat("Hello", audio=files[1])


def test_a_saved_model_sees_and_hears_as_before(looker, files, tmp_path):
    looker.save(tmp_path / "copy")
    loaded = sensorium.load(tmp_path / "copy", threads=1)
    picture, voice = files
    question = {"image": picture, "audio": voice, "temperature": 0.9, "seed": 5, "max_tokens": 12}
    assert loaded.chat("Hello", **question) == looker.chat("Hello", **question)
    assert loaded.embed(picture) == pytest.approx(looker.embed(picture), abs=1e-5)


def test_an_unknown_model_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CheckpointError, match="nothing-here"):
        sensorium.load(Path(tmp_path / "nothing-here"))


def test_importing_the_package_does_not_import_torch():
    code = (
        "import sys, sensorium; assert 'torch' not in sys.modules; sensorium.Message; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_an_unknown_one_is_not():
    for name in sensorium.__all__:
        assert getattr(sensorium, name) is not None
    assert set(sensorium.__all__) <= set(dir(sensorium))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = sensorium.lode
