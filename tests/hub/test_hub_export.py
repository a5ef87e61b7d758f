"""What is exported loads in `transformers` with the same logits, the same tokens and the same chat template."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from torch import Tensor

from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig
from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub.folder import Pretrained, export_hf, load_pretrained
from sensorium.messages import Message
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.template import OUR_TEMPLATE
from sensorium.processing.tokenizer import Tokenizer

Build = Callable[..., transformers.PreTrainedModel]
Error = Callable[[Tensor, Tensor], float]

SMALL: dict[str, Any] = {
    "vocab_size": 400,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_positions": 64,
}
GPT2: dict[str, Any] = {
    "positions": "learned",
    "norm": "layer",
    "activation": "gelu_tanh",
    "gated_mlp": False,
    "qkv_bias": True,
    "attention_output_bias": True,
    "mlp_bias": True,
}
BERT = GPT2 | {
    "norm_placement": "post",
    "activation": "gelu",
    "causal": False,
    "embedding_norm": True,
    "n_token_types": 2,
    "head_transform": True,
    "head_bias": True,
}
YARN = {"kind": "yarn", "factor": 4.0, "original_positions": 16, "truncate": False, "attention_factor": 1.2}
LLAMA3 = {"kind": "llama3", "factor": 8.0, "original_positions": 16}

NATIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama grouped": ("llama", {"n_kv_heads": 2, "tie_embeddings": False, "rope_theta": 5e5, "rope_scaling": LLAMA3}),
    "llama biased": ("llama", {"qkv_bias": True, "attention_output_bias": True, "mlp_bias": True}),
    "llama wide heads": ("llama", {"head_dim": 12, "rope_scaling": {"kind": "linear", "factor": 2.0}}),
    "llama default scale": ("llama", {"attention_scale": 8**-0.5}),
    "mistral": ("mistral", {"sliding_window": 6, "rope_scaling": YARN}),
    "mistral for odd widths": ("mistral", {"n_heads": 5, "head_dim": 10}),
    "qwen2": ("qwen2", {"qkv_bias": True}),
    "qwen2 windows": ("qwen2", {"qkv_bias": True, "sliding_window": 5, "sliding_layers": (0, 2)}),
    "qwen3": ("qwen3", {"qk_norm": True, "n_kv_heads": 1}),
    "qwen3 windows": ("qwen3", {"qk_norm": True, "sliding_window": 5, "sliding_layers": (2,)}),
    "gpt2": ("gpt2", GPT2),
    "gpt2 unscaled": ("gpt2", GPT2 | {"attention_scale": 1.0, "tie_embeddings": False, "activation": "gelu_quick"}),
    "bert": ("bert", BERT),
    "bert untied": ("bert", BERT | {"tie_embeddings": False, "activation": "relu", "max_positions": 40}),
}


def grown(settings: dict[str, Any], processor: Processor | None = None) -> Pretrained:
    """A model of ours with every weight at random, ready to export."""
    config = ModelConfig(decoder=TransformerConfig(**(SMALL | settings)))
    model = Omni(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            is_norm = "norm" in name and name.endswith("weight")
            weight.copy_(1 + 0.4 * noise if is_norm else 0.3 * noise)
    return Pretrained(config, model, processor)


def loaded(folder: Path) -> transformers.PreTrainedModel:
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    auto = transformers.AutoModelForMaskedLM if kind == "bert" else transformers.AutoModelForCausalLM
    model, report = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


@pytest.mark.parametrize("case", NATIVE)
def test_a_model_of_ours_is_the_family_that_can_say_it(
    case: str, tmp_path: Path, error: Error, input_ids: Tensor
) -> None:
    family, settings = NATIVE[case]
    pretrained = grown(settings)
    export_hf(pretrained, tmp_path / "theirs")
    assert json.loads((tmp_path / "theirs" / "config.json").read_text())["model_type"] == family
    with torch.no_grad():
        expected = pretrained.model.logits(input_ids)
        assert expected.std() >= 1
        assert error(loaded(tmp_path / "theirs")(input_ids).logits, expected) < 1e-4
        assert error(load_pretrained(tmp_path / "theirs").model.logits(input_ids), expected) < 1e-6


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"attention_bias": True, "num_key_value_heads": 1}),
        ("mistral", {"sliding_window": 6}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
        ("qwen3", {"tie_word_embeddings": True}),
        ("gpt2", {}),
        ("gpt2", {"tie_word_embeddings": False}),
        ("bert", {}),
        ("bert", {"tie_word_embeddings": False}),
    ],
)
def test_there_and_back_nothing_is_lost(
    family: str, settings: dict[str, Any], tmp_path: Path, build: Build, input_ids: Tensor
) -> None:
    reference = build(family, **settings)
    reference.save_pretrained(tmp_path / "theirs")
    export_hf(load_pretrained(tmp_path / "theirs"), tmp_path / "back")
    back = loaded(tmp_path / "back")
    assert type(back) is type(reference)
    with torch.no_grad():
        assert torch.equal(back(input_ids).logits, type(back).from_pretrained(tmp_path / "theirs")(input_ids).logits)
    original = reference.state_dict()
    stored = back.state_dict()
    used = original.keys() - {"cls.predictions.bias"}  # an untied BERT never looks at this one
    assert stored.keys() == original.keys()
    assert all(torch.equal(stored[name], original[name]) for name in used)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"positions": "sinusoidal"}, "positions = 'sinusoidal'"),
        ({"embedding_scale": 2.0}, "embedding_scale = 2.0"),
        ({"norm_placement": "post"}, "norm_placement = 'post'"),
        ({"attention_scale": 0.5}, "attention_scale = 0.5"),
        ({"gated_mlp": False}, "gated_mlp = False"),
        ({"qkv_bias": True, "mlp_bias": True}, "llama, does not know attention_output_bias = False"),
        ({"sliding_window": 5, "sliding_layers": (1,)}, "sliding_layers"),
        (BERT | {"causal": True}, "causal = True"),
    ],
)
def test_what_no_family_can_say_is_refused_by_name(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no Hugging Face family can express .* {words}") as raised:
        export_hf(grown(settings), tmp_path / "theirs")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_export(dtype: torch.dtype, tmp_path: Path, input_ids: Tensor) -> None:
    pretrained = grown({})
    export_hf(pretrained, tmp_path / "theirs", dtype=dtype)
    assert loaded(tmp_path / "theirs").dtype == dtype
    narrow = Omni(pretrained.config)
    narrow.load_state_dict({name: weight.to(dtype).float() for name, weight in pretrained.model.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(load_pretrained(tmp_path / "theirs").model.logits(input_ids), narrow.logits(input_ids))


TEXTS = ["Once upon a time, there was 1 red ball.", "  two  spaces\n\nand lines", "你好，世界！", "naïve café 🎈 3.14"]


@pytest.fixture(scope="module")
def processor() -> Processor:
    return Processor(Tokenizer.train(TEXTS * 3, 400), OUR_TEMPLATE)


def test_tokenizer_and_chat_template_travel_with_the_model(tmp_path: Path, processor: Processor) -> None:
    pretrained = grown({"vocab_size": 400}, processor)
    export_hf(pretrained, tmp_path / "theirs")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    ours = processor.tokenizer

    for text in [*TEXTS, "unseen words, 42 of them"]:
        assert theirs.encode(text, add_special_tokens=False) == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, theirs.mask_token_id) == (
        ours.bos_id,
        ours.eos_id,
        ours.pad_id,
        ours.mask_id,
    )
    chat = [Message.user("Hello!"), Message.assistant("Hi."), Message.user("Tell me a story.")]
    rendered = theirs.apply_chat_template([m.to_dict() for m in chat], add_generation_prompt=True, return_dict=False)
    assert rendered == processor.encode_messages(chat, add_generation_prompt=True).token_ids.tolist()

    model = loaded(tmp_path / "theirs")
    assert model.config.bos_token_id == ours.bos_id
    assert set(model.generation_config.eos_token_id) == set(processor.stop_ids)
    again = load_pretrained(tmp_path / "theirs")
    assert again.processor is not None
    assert again.processor.stop_ids == processor.stop_ids
    assert (
        again.processor.encode_messages(chat).token_ids.tolist() == processor.encode_messages(chat).token_ids.tolist()
    )


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_way_to_sample_travels_with_the_model(temperature: float, tmp_path: Path, processor: Processor) -> None:
    pretrained = grown({"vocab_size": 400}, processor)
    pretrained.sampling = SamplingConfig(temperature=temperature, top_k=7 if temperature else 0)
    export_hf(pretrained, tmp_path / "theirs")
    again = load_pretrained(tmp_path / "theirs").sampling
    assert (again.temperature, again.top_k) == (temperature, 7 if temperature else 0)


def test_generation_in_transformers_continues_as_ours_does(tmp_path: Path, processor: Processor) -> None:
    pretrained = grown({"vocab_size": 400}, processor)
    export_hf(pretrained, tmp_path / "theirs")
    ids = torch.tensor([processor.encode_prompt("Once").token_ids.tolist()])
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    theirs = loaded(tmp_path / "theirs").generate(ids, attention_mask=torch.ones_like(ids), **settings)
    with torch.no_grad():
        for _ in range(12):
            ids = torch.cat([ids, pretrained.model.logits(ids)[:, -1:].argmax(-1)], dim=1)
    assert theirs.tolist() == ids.tolist()


def test_an_export_never_overwrites_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"already holds 'notes.txt'"):
        export_hf(grown({}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_berts_word_pieces_travel_too(tmp_path: Path, build: Build) -> None:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "cat",
        "sat",
        "##s",
        "on",
        "a",
        "mat",
        ".",
        "un",
        "##do",
    ]
    engine = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]")
    )
    engine.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    engine.decoder = tokenizers.decoders.WordPiece()
    engine.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    roles = {f"{role.lower()}_token": f"[{role}]" for role in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    original = transformers.PreTrainedTokenizerFast(tokenizer_object=engine, **roles)
    original.save_pretrained(tmp_path / "theirs")
    build("bert").save_pretrained(tmp_path / "theirs")

    pretrained = load_pretrained(tmp_path / "theirs")
    export_hf(pretrained, tmp_path / "back")
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert pretrained.processor is not None
    for text in ("The cats sat on a mat.", "undo a cat", "the dog"):
        assert back(text).input_ids == original(text).input_ids
        assert pretrained.processor.tokenizer.encode(text) == original.encode(text, add_special_tokens=False)
    assert (back.mask_token_id, back.pad_token_id, back.cls_token_id) == (4, 0, 2)


def test_gpt2s_two_files_travel_too(tmp_path: Path, build: Build) -> None:
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: n for n, piece in enumerate([*letters, "th", "the", "Ġthe", "<|endoftext|>"])}
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "theirs" / "merges.txt").write_text("#version: 0.2\nt h\nth e\nĠ the\n")
    original = transformers.GPT2Tokenizer.from_pretrained(tmp_path / "theirs")
    build("gpt2", vocab_size=len(vocabulary)).save_pretrained(tmp_path / "theirs")

    pretrained = load_pretrained(tmp_path / "theirs")
    export_hf(pretrained, tmp_path / "back")
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert pretrained.processor is not None
    for text in ("the other the", "你好 the\n"):
        assert back.encode(text) == original.encode(text) == pretrained.processor.tokenizer.encode(text)
    assert back.eos_token_id == vocabulary["<|endoftext|>"]
