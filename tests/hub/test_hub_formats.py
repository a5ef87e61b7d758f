"""The same weights in every form they are published in: precisions, shards, pickles, prefixes, old names, extras."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub.folder import import_pretrained, load_pretrained

FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "bert"]
PREFIXES = {"gpt2": "transformer.", "bert": "bert."}
Build = Callable[..., transformers.PreTrainedModel]
Error = Callable[[Tensor, Tensor], float]
WEIGHTS = "model.safetensors"


def logits_of(folder: Path, input_ids: Tensor) -> Tensor:
    with torch.no_grad():
        return load_pretrained(folder).model.logits(input_ids)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    tensors = change({name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_files_are_computed_in_float32(
    family: str, dtype: torch.dtype, tmp_path: Path, build: Build, input_ids: Tensor, error: Error
) -> None:
    narrow = build(family).to(dtype)
    narrow.save_pretrained(tmp_path)
    reference = type(narrow).from_pretrained(tmp_path, dtype=torch.float32)
    pretrained = load_pretrained(tmp_path)

    assert (pretrained.model.dtype, pretrained.stored_dtype) == (torch.float32, dtype)
    with torch.no_grad():
        assert error(pretrained.model.logits(input_ids), reference(input_ids).logits) < 1e-4
    assert load_pretrained(tmp_path, dtype=torch.bfloat16).model.dtype == torch.bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_shards_are_one_model(family: str, tmp_path: Path, build: Build, input_ids: Tensor, error: Error) -> None:
    reference = build(family)
    reference.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    with torch.no_grad():
        assert error(logits_of(tmp_path, input_ids), reference(input_ids).logits) < 1e-4


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pickled_weights(
    family: str, zipped: bool, shards: int, tmp_path: Path, build: Build, input_ids: Tensor, error: Error
) -> None:
    reference = build(family)
    reference.config.save_pretrained(tmp_path)
    state = reference.state_dict()  # a tied head is in it twice
    names = list(state)
    files = [
        f"pytorch_model-{n + 1:05}-of-{shards:05}.bin" if shards > 1 else "pytorch_model.bin" for n in range(shards)
    ]
    for n, file in enumerate(files):
        part = {name: state[name] for name in names[n::shards]}
        torch.save(part, tmp_path / file, _use_new_zipfile_serialization=zipped)
    if shards > 1:
        index = {"weight_map": {name: files[n % shards] for n, name in enumerate(names)}}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))

    with torch.no_grad():
        assert error(logits_of(tmp_path, input_ids), reference(input_ids).logits) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_bodies_saved_without_their_prefix(
    family: str, tmp_path: Path, build: Build, input_ids: Tensor, error: Error
) -> None:
    reference = build(family, tie_word_embeddings=True)
    reference.save_pretrained(tmp_path)
    prefix = PREFIXES.get(family, "model.")
    rewrite(tmp_path, lambda tensors: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    with torch.no_grad():
        assert error(logits_of(tmp_path, input_ids), reference(input_ids).logits) < 1e-4


def test_berts_old_names_and_other_heads(tmp_path: Path, build: Build, input_ids: Tensor, error: Error) -> None:
    reference = build("bert")
    reference.save_pretrained(tmp_path)

    def as_published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        old = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in tensors.items()
            if name != "cls.predictions.decoder.bias"
        }
        old["cls.predictions.bias"] = reference.cls.predictions.bias.detach()
        old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
        old["bert.embeddings.position_ids"] = torch.arange(64)[None]
        old["bert.pooler.dense.weight"], old["bert.pooler.dense.bias"] = torch.randn(32, 32), torch.randn(32)
        old["cls.seq_relationship.weight"], old["cls.seq_relationship.bias"] = torch.randn(2, 32), torch.randn(2)
        return old

    rewrite(tmp_path, as_published)
    with torch.no_grad():
        assert error(logits_of(tmp_path, input_ids), reference(input_ids).logits) < 1e-4


@pytest.mark.parametrize(
    ("family", "extras"),
    [
        ("gpt2", {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool)}),
        ("gpt2", {"h.2.attn.masked_bias": torch.tensor(-1e4)}),
        ("llama", {"model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
        ("qwen3", {"model.rotary_emb.inv_freq": torch.ones(8)}),
    ],
)
def test_buffers_of_old_files_are_passed_over(
    family: str, extras: dict[str, Tensor], tmp_path: Path, build: Build, input_ids: Tensor, error: Error
) -> None:
    reference = build(family)
    reference.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors | extras)
    with torch.no_grad():
        assert error(logits_of(tmp_path, input_ids), reference(input_ids).logits) < 1e-4


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_tables_that_differ_are_not_tied_whatever_the_configuration_says(
    family: str, tmp_path: Path, build: Build, input_ids: Tensor, error: Error
) -> None:
    reference = build(family, tie_word_embeddings=False)
    reference.save_pretrained(tmp_path)
    configure(tmp_path, tie_word_embeddings=True)
    pretrained = load_pretrained(tmp_path)
    assert not pretrained.config.decoder.tie_embeddings
    with torch.no_grad():
        expected = type(reference).from_pretrained(tmp_path)(input_ids).logits
        assert error(pretrained.model.logits(input_ids), expected) < 1e-4


def test_a_tied_pair_may_be_stored_as_its_head(tmp_path: Path, build: Build, input_ids: Tensor, error: Error) -> None:
    reference = build("llama", tie_word_embeddings=True)
    reference.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda t: {"lm_head.weight" if "embed_tokens" in name else name: x for name, x in t.items()})
    with torch.no_grad():
        assert error(logits_of(tmp_path, input_ids), reference(input_ids).logits) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "fp16"])
def test_import_keeps_every_weight_at_its_stored_precision(
    family: str, dtype: torch.dtype, tmp_path: Path, build: Build, input_ids: Tensor
) -> None:
    build(family).to(dtype).save_pretrained(tmp_path / "theirs")
    import_pretrained(tmp_path / "theirs", tmp_path / "ours")
    ours = load_pretrained(tmp_path / "ours")

    assert ours.stored_dtype == dtype
    assert torch.equal(logits_of(tmp_path / "theirs", input_ids), logits_of(tmp_path / "ours", input_ids))
    assert "theirs" in (tmp_path / "ours" / "MODEL_CARD.md").read_text()


def _lose(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_lose("model.layers.1.mlp.up_proj.weight"), "lacks the tensor 'model.layers.1.mlp.up_proj.weight'"),
        (_lose("model.embed_tokens.weight"), "lacks the tensor 'model.embed_tokens.weight'"),
        (lambda t: t | {"model.layers.9.mlp.up_proj.weight": torch.ones(2)}, "'model.layers.9.mlp.up_proj.weight'"),
        (lambda t: t | {"score.weight": torch.ones(2, 32)}, "holds the tensor 'score.weight', which"),
        (lambda t: t | {"model.norm.weight": torch.ones(33)}, r"'model.norm.weight' has shape \[33\].*needs \[32\]"),
        (lambda t: t | {"model.norm.weight": torch.ones(32, dtype=torch.int8)}, "'model.norm.weight' is not stored as"),
        (lambda t: t | {"model.embed_tokens.weight": torch.ones(60, 32)}, r"shape \[60, 32\].*needs \[61, 32\]"),
    ],
    ids=["missing", "first missing", "surplus layer", "surplus head", "shape", "integers", "vocabulary"],
)
def test_weights_that_do_not_fit_are_named(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], words: str, tmp_path: Path, build: Build
) -> None:
    build("llama").save_pretrained(tmp_path / "theirs")
    rewrite(tmp_path / "theirs", change)
    with pytest.raises(CheckpointError, match=words) as raised:
        import_pretrained(tmp_path / "theirs", tmp_path / "ours")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("kept", [0, 4, 100, 4000, -1])
def test_a_truncated_file_is_one_line(kept: int, tmp_path: Path, build: Build) -> None:
    build("llama").save_pretrained(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:kept])
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} .* is truncated or no safetensors file") as raised:
        load_pretrained(tmp_path)
    assert "\n" not in str(raised.value)


def test_shards_that_are_lost_are_named(tmp_path: Path, build: Build) -> None:
    build("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / f"{WEIGHTS}.index.json"
    places = json.loads(index.read_text())["weight_map"]
    lost = places["model.norm.weight"]
    (tmp_path / lost).unlink()
    with pytest.raises(CheckpointError, match=f"names '{lost}', which is missing"):
        load_pretrained(tmp_path)
    for bad, words in (
        ({"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}, "not a file of its own folder"),
        ({"weight_map": {"nothing": places["lm_head.weight"]}}, "places tensor 'nothing'"),
        ({}, "has no weight_map"),
    ):
        index.write_text(json.dumps(bad))
        with pytest.raises(CheckpointError, match=words):
            load_pretrained(tmp_path)


class Explosive:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never run",))


def test_a_pickle_runs_nothing(tmp_path: Path, build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    build("llama").config.save_pretrained(tmp_path)
    torch.save({"model.norm.weight": Explosive()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="could run code: refused"):
        load_pretrained(tmp_path)
    assert capsys.readouterr().out == ""
    for broken in (b"PK\x03\x04 and no more", b"\x80\x02R."):
        (tmp_path / "pytorch_model.bin").write_bytes(broken)
        with pytest.raises(CheckpointError, match="truncated or no weight file"):
            load_pretrained(tmp_path)
    torch.save([torch.ones(2)], tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="not a plain table of tensors"):
        load_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("family", "settings", "words"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope type 'dynamic'"),
        ("llama", {"rope_scaling": {"type": "longrope", "factor": 2.0}}, "rope type 'longrope'"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "needs 'factor'"),
        ("llama", {"rope_scaling": {"type": "llama3", "factor": 2.0}}, "needs 'low_freq_factor'"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "beta_fast": 3}}, "with 'beta_fast'"),
        ("llama", {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1]}}, "'mrope_section'"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "'full_attention'"),
        ("llama", {"rope_parameters": [1]}, "must be an object"),
        (
            "llama",
            {"rope_scaling": {"type": "llama3", "factor": 2.0, "low_freq_factor": 4, "high_freq_factor": 4}},
            "low_freq_factor below high_freq_factor",
        ),
        ("llama", {"rope_scaling": {"type": "linear", "factor": "two"}}, "rope_scaling.factor = 'two'"),
        ("llama", {"hidden_act": ["silu"]}, "value of the wrong kind"),
        ("mistral", {"layer_types": 3}, "value of the wrong kind"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": "some", "layer_types": None},
            "wrong kind",
        ),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ("llama", {"layer_types": ["sliding_attention"] * 3}, "layer_types"),
        ("llama", {"hidden_act": "mish"}, "hidden_act 'mish'"),
        ("llama", {"hidden_size": 33}, "hidden_size must be a multiple"),
        ("llama", {"hidden_size": None}, "'hidden_size' is required"),
        ("llama", {"hidden_size": "wide"}, "hidden_size = 'wide'"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("llama", {"num_local_experts": 8}, "num_local_experts = 8"),
        ("llama", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ("llama", {"model_type": "rwkv"}, "model_type 'rwkv' is not supported"),
        ("llama", {"model_type": None, "architectures": ["Other"]}, "model_type None is not supported"),
        ("llama", {"model_type": None, "architectures": 5}, "model_type None is not supported"),
        ("llama", {"num_hidden_layers": 10**9}, "n_layers = 1000000000: .* less than or equal to 4096"),
        ("mistral", {"sliding_window": 5, "layer_types": ["full_attention"] * 3}, "layer_types must agree"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "no sliding_window is in use"),
        ("qwen2", {"layer_types": ["full_attention"]}, "each of 3 layers"),
        ("qwen3", {"layer_types": ["linear_attention"] * 3}, "layer_types must list"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ("bert", {"is_decoder": True}, "is_decoder = True"),
    ],
)
def test_settings_that_would_change_the_maths_are_refused(
    family: str, settings: dict[str, Any], words: str, tmp_path: Path, build: Build
) -> None:
    build(family).save_pretrained(tmp_path)
    configure(tmp_path, **settings)
    with pytest.raises(ConfigError, match=words) as raised:
        load_pretrained(tmp_path)
    assert str(tmp_path / "config.json") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_architecture_names_the_family_where_model_type_does_not(tmp_path: Path, build: Build) -> None:
    build("qwen3").save_pretrained(tmp_path)
    configure(tmp_path, model_type=None)
    assert load_pretrained(tmp_path).config.decoder.qk_norm


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9}, {"temperature": 0.6, "top_p": 0.9, "top_k": 50}),
        ({"do_sample": True, "top_k": 20, "repetition_penalty": 1.1}, {"temperature": 1.0, "top_k": 20}),
        ({"do_sample": False}, {"temperature": 0.0}),
        ({"eos_token_id": [3, 5]}, {"stop_token_ids": (3, 5)}),
        ({}, {"stop_token_ids": (4,)}),
    ],
)
def test_sampling_follows_the_checkpoint(
    wishes: dict[str, Any], expected: dict[str, Any], tmp_path: Path, build: Build
) -> None:
    build("llama").save_pretrained(tmp_path)
    configure(tmp_path, eos_token_id=4)
    (tmp_path / "generation_config.json").write_text(json.dumps(wishes))
    sampling = load_pretrained(tmp_path).sampling
    assert {name: getattr(sampling, name) for name in expected} == expected
