"""Published codecs, and ours, join any decoder: it draws and speaks by them, is saved, and learns their codes."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from making import make_model, scribble
from media_parts import picture, tone
from published_codecs import pictures, sounds, write_janus, write_janus_vq, write_mimi
from published_words import CHATML, write_words

import sensorium
from sensorium.config import JanusVQConfig, MimiConfig
from sensorium.errors import CheckpointError, ConfigError, RequestError, SensoriumError
from sensorium.hub.codecs import load_image_codec, load_speech_codec
from sensorium.hub.folder import load_pretrained, save_pretrained
from sensorium.hub.graft import Joint, graft
from sensorium.inference.grammar import Grammar, Making, Vocabulary
from sensorium.messages import Audio, Image, Message, Text

RATE, FRAME, CODEBOOKS = 1000, 16, 2
_CAUSAL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def write_decoder(folder: Path, context: int = 400) -> Path:
    """A decoder of 303 tokens that writes none of them gladly."""
    write_words(folder, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), template=CHATML, eos_token="<|endoftext|>")
    settings = _CAUSAL | {"num_key_value_heads": 2, "vocab_size": 303, "max_position_embeddings": context}
    settings |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    torch.manual_seed(5)
    transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model("qwen2", **settings)
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    write_janus_vq(folder / "vq")
    write_janus(folder / "janus")
    write_mimi(folder / "mimi", sampling_rate=RATE)
    make_model(eyes=False, ears=False).save(folder / "ours")
    make_model(eyes=False, ears=False, draws=False, voices=None).save(folder / "reader")
    return {"decoder": write_decoder(folder / "decoder")} | {
        name: folder / name for name in ("vq", "janus", "mimi", "ours", "reader")
    }


@pytest.fixture(scope="module")
def whole(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that draws by Janus and speaks by two codebooks of Mimi."""
    folder = tmp_path_factory.mktemp("grafts") / "whole"
    graft(parts["decoder"], folder, image_codec=parts["vq"], speech_codec=parts["mimi"], codebooks=CODEBOOKS, seed=3)
    return folder


def pixels_of(part: Image) -> np.ndarray:
    assert part.data is not None
    return np.asarray(PIL.Image.open(io.BytesIO(part.data)))


def test_codes_stand_behind_the_words(whole: Path, parts: dict[str, Path]) -> None:
    config, words = load_pretrained(whole).config, load_pretrained(parts["decoder"]).processor
    assert isinstance(config.image_codec, JanusVQConfig)
    assert isinstance(config.speech_codec, MimiConfig)
    assert words is not None
    begun = words.tokenizer.vocab_size + 4  # begin and end of both
    assert config.image_codec.ids == range(begun, begun + 40)
    assert config.speech_codec.ids == range(begun + 40, begun + 40 + CODEBOOKS * 16)
    assert config.decoder.vocab_size == config.speech_codec.ids.stop
    tokenizer = load_pretrained(whole).processor.tokenizer  # type: ignore[union-attr]
    added = tokenizer.control_ids.keys() - words.tokenizer.control_ids.keys()
    assert added == {"<|image_begin|>", "<|image_end|>", "<|audio_begin|>", "<|audio_end|>"}


def test_what_each_part_knew_is_kept(whole: Path, parts: dict[str, Path]) -> None:
    trunk, model = load_pretrained(parts["decoder"]).model, load_pretrained(whole).model
    ids = torch.randint(0, 303, (2, 20), generator=torch.Generator().manual_seed(3))
    drawing = load_image_codec(parts["vq"])
    speaking = load_speech_codec(parts["mimi"], codebooks=CODEBOOKS)
    assert model.image_codec is not None
    assert model.speech_codec is not None
    with torch.no_grad():
        torch.testing.assert_close(
            model.logits(ids)[..., :303].log_softmax(-1), trunk.logits(ids).log_softmax(-1), rtol=1e-4, atol=1e-4
        )
        codes = drawing.encode(pictures())
        assert torch.equal(model.image_codec.encode(pictures()), codes)
        assert torch.equal(model.image_codec.decode(codes), drawing.decode(codes))
        said = speaking.encode(sounds())
        assert torch.equal(model.speech_codec.encode(sounds()), said)
        assert torch.equal(model.speech_codec.decode(said), speaking.decode(said))


def test_saved_again_it_says_the_same(whole: Path, tmp_path: Path) -> None:
    model = sensorium.load(whole)
    model.save(tmp_path / "again")
    again = sensorium.load(tmp_path / "again")
    assert again.config == model.config
    for kind in ("image", "speech"):
        asked: dict[str, Any] = {"reply": kind, "seed": 4, "max_tokens": 60}
        assert again.chat("So?", **asked) == model.chat("So?", **asked)


def test_it_draws_a_picture_of_the_codecs_size(whole: Path) -> None:
    model = sensorium.load(whole)
    *_, part = model.chat("Draw a cat.", reply="image", seed=1).parts  # there may be a sketch before it
    assert isinstance(part, Image)
    assert pixels_of(part).shape == (16, 16, 3)
    others = model.draw("Draw a cat.", pictures=2, seed=2)
    assert [pixels_of(other).shape for other in others] == [(16, 16, 3)] * 2
    assert others[0] != part


def test_it_speaks_whole_frames_at_the_codecs_rate(whole: Path) -> None:
    model = sensorium.load(whole)
    assert model.voices == ()
    spoken = model.say("A red ball.", seed=1, max_tokens=90)
    assert spoken.data is not None
    with wave.open(io.BytesIO(spoken.data)) as file:
        assert file.getframerate() == RATE
        assert file.getnframes() > 0
        assert file.getnframes() % FRAME == 0
    reply = model.chat("Say it.", reply="speech", seed=1, max_tokens=90)
    assert any(isinstance(part, Audio) for part in reply.parts)


def test_a_voice_means_nothing_to_it(whole: Path) -> None:
    model = sensorium.load(whole)
    for voice in ("anna", tone(0.5)):
        with pytest.raises(RequestError, match="takes no voice: its codes say who speaks"):
            model.say("A red ball.", voice=voice)


@pytest.mark.parametrize("seed", range(6))
def test_codebooks_take_turns_whatever_the_scores(seed: int, whole: Path) -> None:
    pretrained = load_pretrained(whole)
    processor, codec = pretrained.processor, pretrained.config.speech_codec
    assert processor is not None
    assert codec is not None
    vocabulary = Vocabulary(pretrained.config, processor.tokenizer, processor.stop_ids, processor.codecs)
    script = (tuple(processor.tokenizer.encode("A dog.")), tuple(processor.tokenizer.encode("A cat.")))
    grammar = Grammar(vocabulary, Making("speech", script=script), limit=10_000)
    generator = torch.Generator().manual_seed(seed)
    stretches: list[list[int]] = []
    while not grammar.finished:
        token = grammar.forced
        if token is None:
            scores = torch.randn(pretrained.config.decoder.vocab_size, generator=generator) * (1 + seed)
            token = grammar.token(
                int(torch.multinomial(grammar.candidates(scores).softmax(-1), 1, generator=generator))
            )
        if token in codec.ids:
            assert token in codec.candidates_at(len(stretches[-1]))
            stretches[-1].append(token - codec.first_id)
        elif token == vocabulary.speech_begin:
            stretches.append([])
        grammar.take(token)
    assert len(stretches) == 2
    assert all(stretch and len(stretch) % CODEBOOKS == 0 for stretch in stretches)


def test_a_stretch_that_never_ends_is_ended_at_a_whole_frame(whole: Path) -> None:
    pretrained = load_pretrained(whole)
    processor, codec = pretrained.processor, pretrained.config.speech_codec
    assert processor is not None
    assert codec is not None
    vocabulary = Vocabulary(pretrained.config, processor.tokenizer, processor.stop_ids, processor.codecs)
    grammar = Grammar(vocabulary, Making("speech", script=((1,),)), limit=10_000)
    scores = torch.zeros(pretrained.config.decoder.vocab_size)
    scores[vocabulary.speech_end] = -torch.inf
    longest = 0
    while not grammar.finished:
        longest = max(longest, len(grammar.codes))
        forced = grammar.forced
        grammar.take(grammar.token(int(grammar.candidates(scores).argmax())) if forced is None else forced)
    assert longest == 20 * codec.codes_per_second


def test_a_conversation_holds_what_it_drew_and_said(whole: Path) -> None:
    processor = load_pretrained(whole).processor
    assert processor is not None
    assert processor.codecs is not None
    drawn, said = picture(), tone(0.3)
    sequence = processor.encode_messages([Message.user("So?"), Message("assistant", (Text("There:"), drawn, said))])
    ids, controls = sequence.token_ids.tolist(), processor.tokenizer.control_ids
    for part, edges in ((processor.codecs.picture_ids(drawn), "image"), (processor.codecs.speech_ids(said), "audio")):
        begin, end = ids.index(controls[f"<|{edges}_begin|>"]), ids.index(controls[f"<|{edges}_end|>"])
        assert ids[begin + 1 : end] == part.tolist()
    assert len(processor.codecs.speech_ids(said)) == -(-300 // FRAME) * CODEBOOKS


def test_the_decoder_learns_the_codes_while_the_codecs_stand_still(whole: Path, tmp_path: Path) -> None:
    from sensorium.train import Recipe, train

    (tmp_path / "red.png").write_bytes(picture().data or b"")
    (tmp_path / "tone.wav").write_bytes(tone(0.4).data or b"")
    made = [{"type": "image", "path": "red.png"}, {"type": "audio", "path": "tone.wav"}]
    talk = {"messages": [{"role": "user", "content": "Draw and say."}, {"role": "assistant", "content": made}]}
    (tmp_path / "talk.jsonl").write_text(json.dumps(talk) + "\n")
    stage = {
        "objective": "chat", "data": [{"path": str(tmp_path / "talk.jsonl")}], "rows": 1, "time": 128, "lr": 1e-2,
        "budget": {"steps": 2}, "eval_every": 0,
    }  # fmt: skip
    recipe = {"init": str(whole), "save_dtype": "float32", "stages": [stage]}
    trained = load_pretrained(train(Recipe.parse(recipe, "test"), tmp_path / "run"))
    before = load_pretrained(whole).model.state_dict()
    moved = {name for name, weight in trained.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert "decoder.embeddings.token.weight" in moved
    assert not {name for name in moved if name.startswith(("image_codec", "speech_codec"))}
    for objective in ("image_codec", "speech_codec"):
        wanted = Recipe.parse(recipe | {"stages": [stage | {"objective": objective}]}, "test")
        with pytest.raises(ConfigError, match="trains codecs of ours, not"):
            train(wanted, tmp_path / objective)


def test_the_codec_of_a_whole_janus(parts: dict[str, Path], tmp_path: Path) -> None:
    graft(parts["decoder"], tmp_path / "whole", image_codec=parts["janus"])
    model = sensorium.load(tmp_path / "whole")
    assert model.config.speech_codec is None
    assert pixels_of(model.draw("Draw a cat.", seed=1)).shape == (16, 16, 3)  # type: ignore[arg-type]


def test_codecs_of_a_model_of_ours(parts: dict[str, Path], tmp_path: Path) -> None:
    ours = load_pretrained(parts["ours"])
    joined = graft(parts["decoder"], tmp_path / "whole", image_codec=parts["ours"], speech_codec=parts["ours"])
    assert joined.model.image_codec is not None
    assert joined.model.speech_codec is not None
    for name in ("image_codec", "speech_codec"):
        theirs = getattr(ours.model, name).state_dict()
        for key, weight in getattr(joined.model, name).state_dict().items():
            assert torch.equal(weight, theirs[key]), key
    assert joined.config.image_codec is not None
    assert joined.config.image_codec.first_id == 307
    model = sensorium.load(tmp_path / "whole")
    assert model.voices == ("anna", "bob")
    assert pixels_of(model.draw("Draw.", image=None, seed=1)).shape == (8, 12, 3)  # type: ignore[arg-type]
    assert model.say("A cat.", voice="bob", seed=1, max_tokens=40) != model.say("A cat.", seed=1, max_tokens=40)


def test_new_control_tokens_find_no_room_before_codes(parts: dict[str, Path], tmp_path: Path) -> None:
    graft(parts["decoder"], tmp_path / "first", image_codec=parts["vq"])
    with pytest.raises(ConfigError, match=r"first has codes where .* \(join all parts in one graft\)"):
        graft(tmp_path / "first", tmp_path / "second", speech_codec=parts["mimi"])


def test_eyes_and_codecs_at_once(parts: dict[str, Path], tmp_path: Path) -> None:
    graft(parts["decoder"], tmp_path / "whole", vision="patches", image_codec=parts["vq"], joint=Joint("resampler"))
    model = sensorium.load(tmp_path / "whole")
    changed = model.draw("Now in blue.", image=scribble(), seed=1)
    assert pixels_of(changed).shape == (16, 16, 3)  # type: ignore[arg-type]


def test_the_card_says_what_has_to_be_learned(whole: Path) -> None:
    card = (whole / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "with an image codec of `" in card
    assert "and a speech codec of `" in card
    assert "knows none of the codes yet" in card
    assert "projectors have learned nothing" not in card


REFUSED: dict[str, tuple[Callable[[dict[str, Path], Path], dict[str, Any]], str]] = {
    "a reader's codec of pictures": (lambda parts, _: {"image_codec": parts["reader"]}, "without an image codec"),
    "a reader's codec of speech": (lambda parts, _: {"speech_codec": parts["reader"]}, "without a speech codec"),
    "speech for pictures": (lambda parts, _: {"image_codec": parts["mimi"]}, "'mimi' is no codec of pictures"),
    "pictures for speech": (lambda parts, _: {"speech_codec": parts["vq"]}, "'janus_vqgan' is no codec of speech"),
    "a file": (lambda parts, _: {"image_codec": parts["vq"] / "model.safetensors"}, "is a file, not the folder"),
    "nothing there": (lambda _, here: {"image_codec": here / "no"}, "no model"),
    "too many codebooks": (lambda parts, _: {"speech_codec": parts["mimi"], "codebooks": 6}, "has 5 codebooks, not 6"),
    "codebooks of ours": (
        lambda parts, _: {"speech_codec": parts["ours"], "codebooks": 2}, r"speaks with 1 codebook\(s\), not 2"
    ),
    "codebooks of nothing": (lambda parts, _: {"image_codec": parts["vq"], "codebooks": 2}, "give speech_codec"),
    "a decoder that draws already": (
        lambda parts, _: {"decoder": parts["ours"], "image_codec": parts["vq"]}, "ours has an image codec already"
    ),
    "a short context": (
        lambda parts, here: {"decoder": write_decoder(here / "short", 18), "image_codec": parts["vq"]},
        "a picture that it draws takes 18 places of a context of 18",
    ),
    "a context of less than a second": (
        lambda parts, here: {"decoder": write_decoder(here / "short", 100), "speech_codec": parts["mimi"]},
        "a second that it speaks takes 315 places of a context of 100",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_together_is_refused_in_one_line(case: str, parts: dict[str, Path], tmp_path: Path) -> None:
    make, message = REFUSED[case]
    with pytest.raises(SensoriumError, match=message) as found:
        graft(folder=tmp_path / "whole", **({"decoder": parts["decoder"]} | make(parts, tmp_path)))
    assert "\n" not in str(found.value)
    assert isinstance(found.value, ConfigError | CheckpointError)
    assert not (tmp_path / "whole").exists()


def test_half_precision_of_the_decoder_keeps_the_codec_well_formed(parts: dict[str, Path], tmp_path: Path) -> None:
    """A folder stores all its weights alike: codes may differ from the original's, but the whole draws and speaks."""
    save_pretrained(load_pretrained(parts["decoder"]), tmp_path / "half", dtype=torch.bfloat16)
    graft(tmp_path / "half", tmp_path / "whole", image_codec=parts["vq"], speech_codec=parts["mimi"], codebooks=2)
    model = sensorium.load(tmp_path / "whole")
    assert pixels_of(model.draw("Draw.", seed=1)).shape == (16, 16, 3)  # type: ignore[arg-type]
    before, after = load_image_codec(parts["vq"]), load_pretrained(tmp_path / "whole").model.image_codec
    assert after is not None
    with torch.no_grad():
        assert (after.encode(pictures()) == before.encode(pictures())).float().mean() > 0.7
