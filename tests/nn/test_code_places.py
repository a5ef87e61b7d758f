"""Where codes stand: the same read at once, in parts, or token by token; and nothing anywhere else."""

from __future__ import annotations

import pytest
import torch
from making import N_CODES, make_config, shaken, tokenizer

from sensorium.config import ImageCodecConfig
from sensorium.inference import decoding
from sensorium.nn.code_places import CodePlaces
from sensorium.nn.compilation import has_compiler
from sensorium.nn.omni import Omni

FIRST = 10
CONFIG = ImageCodecConfig(first_id=FIRST, size=(16, 24), embed_places=True)  # 2 rows of 3


def places() -> CodePlaces:
    found = CodePlaces(CONFIG, 4)
    torch.nn.init.normal_(found.row.weight)
    torch.nn.init.normal_(found.column.weight)
    return found


def test_each_code_has_the_vector_of_its_row_and_column_and_words_have_none() -> None:
    embed = places()
    ids = torch.tensor([[1, 10, 11, 12, 13, 14, 15, 2, 3, 20, 21, 4]])
    vectors, run = embed(ids, torch.zeros(1, dtype=torch.long))
    for at, place in {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 9: 0, 10: 1}.items():
        expected = embed.row.weight[place // 3] + embed.column.weight[place % 3]
        torch.testing.assert_close(vectors[0, at], expected)
    assert not vectors[0, [0, 7, 8, 11]].any()
    assert run.tolist() == [0]


def test_reading_in_parts_is_reading_at_once() -> None:
    embed = places()
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(8, 14, (3, 40), generator=generator)
    whole, run = embed(ids, torch.zeros(3, dtype=torch.long))
    for step in (1, 7):
        so_far, parts = torch.zeros(3, dtype=torch.long), []
        for part in ids.split(step, dim=1):
            vectors, so_far = embed(part, so_far)
            parts.append(vectors)
        torch.testing.assert_close(torch.cat(parts, 1), whole)
        assert so_far.tolist() == run.tolist()


def test_a_model_reads_pictures_alike_with_and_without_a_cache() -> None:
    model = Omni(make_config())
    model.reset_parameters(5)
    shaken(model, 0.1)
    assert model.decoder.embeddings.code_places is not None
    first, begin = tokenizer().vocab_size, tokenizer().control_ids["<|image_begin|>"]
    ids = torch.tensor([[5, begin, *range(first, first + N_CODES), 6, begin, first + 3, first]])
    with torch.inference_mode():
        whole = model.logits(ids)
        cache = model.new_cache(1, 32)
        parts = [
            model.logits_of(model.hidden_states(ids[:, at : at + 1], positions=torch.tensor([[at]]), cache=cache))
            for at in range(ids.shape[1])
        ]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=1e-4)
    model.decoder.embeddings.code_places = None
    with torch.inference_mode():
        assert (model.logits(ids) - whole).abs().max() > 1e-3


def test_the_rest_of_a_fresh_model_is_drawn_as_without_them_and_says_the_same() -> None:
    config = make_config()
    assert config.image_codec is not None
    bare = config.model_copy(update={"image_codec": config.image_codec.model_copy(update={"embed_places": False})})
    told, untold = Omni(config), Omni(bare)
    for model in (told, untold):
        model.reset_parameters(5)
    weights = told.state_dict()
    for name, weight in untold.state_dict().items():
        assert torch.equal(weight, weights[name]), name
    first = tokenizer().vocab_size
    with torch.no_grad():
        ids = torch.tensor([[3, first, first + 1, 4]])
        assert torch.equal(told.eval().logits(ids), untold.eval().logits(ids))
    assert told.decoder.n_parameters(embeddings=False) == untold.decoder.n_parameters(embeddings=False)
    assert told.decoder.n_parameters() > untold.decoder.n_parameters()


@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="no C++ compiler on this machine")
def test_the_compiled_step_counts_codes_as_the_plain_one_does_and_so_does_a_grown_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Omni(make_config())
    model.reset_parameters(5)
    shaken(model, 0.1)
    first, begin = tokenizer().vocab_size, tokenizer().control_ids["<|image_begin|>"]
    monkeypatch.setattr(decoding, "SLOTS", 8)
    monkeypatch.setattr(decoding, "PREFILL_CHUNK", 3)
    compiled = decoding.Decoder(model, threads=1, compile=True)
    plain = decoding.Decoder(model, threads=1, compile=False)
    assert compiled.compile()
    prompt = [5, 6, begin, first, first + 1]  # read in two parts, the second of which begins within the picture
    codes = [*range(first + 2, first + N_CODES), 7, begin, *range(first, first + N_CODES)]
    ours, theirs = compiled.read(prompt), plain.read(prompt)
    assert ours is not None
    assert theirs is not None
    for token in codes:
        compiled.step(ours, [token])
        plain.step(theirs, [token])
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        whole = model.logits(torch.tensor([[*prompt, *codes]]))[0, -1]
    torch.testing.assert_close(theirs.scores[0], whole, rtol=1e-4, atol=1e-4)
