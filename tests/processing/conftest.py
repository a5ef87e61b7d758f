"""Small tokenizers in the forms of published families, each with its chat template; and a model with codecs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from making import make_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sensorium.api import Model
from sensorium.processing import Processor
from sensorium.processing import Tokenizer as OurTokenizer
from sensorium.processing.codes import Codecs

TEXTS = [
    "The little girl loved to play outside in the park. One day, she saw a big, red ball!",
    "It's raining; don't forget your umbrella, said the old man at 7:45. How are you? I am fine.",
    "你好，今天天气很好。我们去公园玩吧！小女孩看到了一个红色的球。",
    "def add(a, b):\n    return a + b\n\n\nprint(add(12, 345))  # sum",
    "user assistant system tool end begin INST SYS im start header id [ ] < > | / _ \\",
] * 4

LLAMA2_TEMPLATE = """\
{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}\
{% else %}{% set rest = messages %}{% set system = false %}{% endif %}\
{% for message in rest %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if loop.index0 == 0 and system %}\
{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}\
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

CHATML_TEMPLATE = """\
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>' ~ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA3_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""

PHI_TEMPLATE = """\
{% for message in messages %}{{'<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n'}}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""


def special(name: str, **flags: bool) -> AddedToken:
    return AddedToken(name, special=True, normalized=False, **flags)


def plain(name: str) -> AddedToken:
    return AddedToken(name, special=False, normalized=False)


def byte_level(added: list[AddedToken], *, pattern: str | None = None, ignore_merges: bool = False) -> Tokenizer:
    engine = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if pattern is None:
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        engine.pre_tokenizer = pre_tokenizers.Sequence(
            [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
    engine.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    engine.train_from_iterator(TEXTS, trainer)
    engine.add_tokens(added)
    return engine


def llama2() -> Tokenizer:
    """SentencePiece's BPE: metaspace and byte fallback, controls inside the vocabulary."""
    controls = ["<unk>", "<s>", "</s>"]
    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    reserved = controls + [f"<0x{byte:02X}>" for byte in range(256)]
    learner.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=reserved, show_progress=False)
    )
    spec = json.loads(learner.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] in controls]
    engine = Tokenizer.from_str(json.dumps(spec))
    engine.pre_tokenizer = None
    engine.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    engine.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    engine.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return engine


def mistral() -> Tokenizer:
    """Mistral's newer form: metaspace as a pre-tokenizer that marks the first piece only, `[INST]` a control."""
    engine = llama2()
    engine.normalizer = None
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    engine.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    engine.add_tokens([special("[INST]"), special("[/INST]")])
    return engine


def bert() -> Tokenizer:
    engine = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    engine.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=names, show_progress=False)
    )
    engine.add_tokens([special("[MASK]", lstrip=True)])
    engine.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return engine


QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def qwen() -> Tokenizer:
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    merely_added = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
    engine = byte_level([special(n) for n in names] + [plain(n) for n in merely_added], pattern=QWEN_PATTERN)
    engine.normalizer = normalizers.NFC()
    return engine


def llama3() -> Tokenizer:
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    engine = byte_level([special(n) for n in names], pattern=QWEN_PATTERN, ignore_merges=True)
    begin = engine.token_to_id("<|begin_of_text|>")
    engine.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)]),
        ]
    )
    return engine


def phi() -> Tokenizer:
    """Controls that swallow the blanks after them."""
    engine = llama2()
    names = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    engine.add_tokens([special(name, rstrip=True) for name in names])
    return engine


FAMILIES: dict[str, tuple[Callable[[], Tokenizer], dict[str, object]]] = {
    "llama2": (
        llama2,
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": LLAMA2_TEMPLATE},
    ),
    "mistral": (
        mistral,
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": LLAMA2_TEMPLATE},
    ),
    "qwen": (qwen, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML_TEMPLATE}),
    "llama3": (
        llama3,
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "chat_template": LLAMA3_TEMPLATE},
    ),
    "phi": (
        phi,
        {"bos_token": "<s>", "unk_token": "<unk>", "eos_token": "<|endoftext|>", "chat_template": PHI_TEMPLATE},
    ),
    "bert": (
        bert,
        {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")},
    ),
}
CHAT_FAMILIES = [name for name, (_, config) in FAMILIES.items() if "chat_template" in config]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small tokenizer in the form of a published family."""
    folders: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in folders:
            build, config = FAMILIES[family]
            folders[family] = tmp_path_factory.mktemp(family)
            (folders[family] / "tokenizer.json").write_text(build().to_str(), encoding="utf-8")
            settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False} | config
            (folders[family] / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        return folders[family]

    return folder_of


@pytest.fixture(params=CHAT_FAMILIES)
def chat_folder(request: pytest.FixtureRequest, published: Callable[[str], Path]) -> Path:
    """The folder of each family in turn that has a chat template."""
    return published(request.param)


@pytest.fixture(params=list(FAMILIES))
def any_folder(request: pytest.FixtureRequest, published: Callable[[str], Path]) -> Path:
    """The folder of each family in turn."""
    return published(request.param)


@pytest.fixture(scope="session")
def ours() -> OurTokenizer:
    return OurTokenizer.train(TEXTS, 500)


@pytest.fixture(scope="module")
def maker() -> Model:
    return make_model()


@pytest.fixture(scope="module")
def processor(maker: Model) -> Processor:
    return maker.processor


@pytest.fixture(scope="module")
def codecs(processor: Processor) -> Codecs:
    assert processor.codecs is not None
    return processor.codecs
