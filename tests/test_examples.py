"""Every example is a complete program of fewer than 60 lines, and runs."""

import re
import runpy
import sys
import wave
from pathlib import Path

import making
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs a program of examples/ with arguments and gives what it printed."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory, stories: list[str]) -> Path:
    """A GPT-2 as published: `vocab.json`, `merges.txt`, weights by transformers."""
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        stories, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    )
    tokenizer.model.save(str(folder))
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=320, n_positions=256, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory, stories: list[str]) -> Path:
    """A BERT as published: `tokenizer.json`, weights by transformers."""
    folder = tmp_path_factory.mktemp("bert")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(stories, trainers.WordPieceTrainer(vocab_size=120, special_tokens=specials))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    size = tokenizer.get_vocab_size()
    config = BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_each_is_short_complete_and_tested() -> None:
    tested = set(re.findall(r'example\(\s*"(\w+\.py)"', Path(__file__).read_text(encoding="utf-8")))
    programs = sorted(EXAMPLES.glob("*.py"))
    assert {program.name for program in programs} == tested
    for program in programs:
        text = program.read_text(encoding="utf-8")
        assert text.count("\n") < 60, program.name
        assert f"python examples/{program.name}" in text


def test_answer_questions(example, gpt2: Path) -> None:
    out = example("answer_questions.py", "What is red?", "--model", gpt2, "--max-tokens", 4)
    assert out.startswith("What is red?\n-> ")
    assert out == example("answer_questions.py", "What is red?", "--model", gpt2, "--max-tokens", 4)


def test_continue_dialogue(example, talker: Path) -> None:
    out = example("continue_dialogue.py", "What is a cat?", "--model", talker, "--temperature", 0.01, "--n", 2)
    assert out == "1. A cat is red.\n2. A cat is red.\n"
    with pytest.raises(SystemExit):
        example("continue_dialogue.py", "Hello!", "Hello to you!", "--model", talker)


def test_fill_mask(example, bert: Path) -> None:
    lines = example("fill_mask.py", "The [MASK] was [MASK] .", "--model", bert, "--top-k", 3).splitlines()
    assert [line for line in lines if line.startswith("mask")] == ["mask 1:", "mask 2:"]
    shares = [float(line.split()[0].rstrip("%")) for line in lines if not line.startswith("mask")]
    assert len(shares) == 6
    assert shares[:3] == sorted(shares[:3], reverse=True)


def test_bidirectional_encoder(example) -> None:
    out = example("bidirectional_encoder.py", "--steps", 250)
    # A model that sees only the first token is right half of the time.
    assert float(out.split()[-1]) > 0.9


def test_pretrain_on_text(example, tmp_path: Path, stories: list[str]) -> None:
    (tmp_path / "book.txt").write_text("\n\n".join(stories * 4), encoding="utf-8")
    sizes = ["--dim", 32, "--vocab-size", 400, "--steps", 3]
    out = example("pretrain_on_text.py", tmp_path / "book.txt", "--out", tmp_path / "run", *sizes)
    assert out.startswith("Once upon a time")
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_finetune_on_chat(example, talker: Path, tmp_path: Path) -> None:
    line = (
        '{"messages": [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Come here, cat!"}]}\n'
    )
    (tmp_path / "talk.jsonl").write_text(line * 20, encoding="utf-8")
    options = ["--model", talker, "--out", tmp_path / "run", "--steps", 40, "--lr", 0.005]
    out = example("finetune_on_chat.py", tmp_path / "talk.jsonl", *options)
    assert "> Hello!\nCome here, cat!\n" in out


def test_look_and_listen(example, onlooker: Path, colours: Path, tones: Path) -> None:
    files = ["--image", colours / "red" / "3.png", "--audio", tones / "high" / "2.wav", "--model", onlooker]
    lines = example("look_and_listen.py", "What is this?", *files, "--then", "Hello!").splitlines()
    assert [line[:6].strip() for line in lines] == ["seen:", "heard:", "both:", "then:"]
    assert lines[0] == "seen:  red"
    lines = example("look_and_listen.py", "What do you hear?", *files).splitlines()
    assert lines[1] == "heard: high"
    assert len(lines) == 3


def test_find_pictures(example, onlooker: Path, colours: Path, tmp_path: Path) -> None:
    out = example("find_pictures.py", colours, "blue", colours / "red" / "0.png", "--model", onlooker, "--top", 2)
    words, first, second, picture, same, other = out.splitlines()
    assert (words, picture) == ("blue", str(colours / "red" / "0.png"))
    assert {Path(line.split()[1]).parent.name for line in (first, second)} == {"blue"}
    assert same.split() == ["1.000", picture]
    assert Path(other.split()[1]).parent.name == "red"
    with pytest.raises(SystemExit):
        example("find_pictures.py", tmp_path, "blue", "--model", onlooker)


def test_your_own_pictures(example, onlooker: Path, colours: Path, tmp_path: Path) -> None:
    options = ["--model", onlooker, "--out", tmp_path / "run", "--steps", 30, "--lr", 0.005]
    out = example("your_own_pictures.py", colours, *options, "--question", "Which colour?")
    found = re.match(r"right: (\d+) of (\d+) pictures that were held out\n", out)
    assert found is not None
    right, total = map(int, found.groups())
    assert 2 <= total <= 10
    assert right >= total - 1  # a guess is right in a third of them
    assert out.endswith(f"the model is in {tmp_path / 'run' / 'model'}\n")


def test_draw_and_speak(example, tmp_path: Path) -> None:
    making.make_model().save(tmp_path / "maker")
    said = example("draw_and_speak.py", "Draw a ball", "--model", tmp_path / "maker", "--folder", tmp_path / "out")
    assert said.startswith("drawn and changed")
    first, second = ((tmp_path / "out" / name).read_bytes() for name in ("picture.png", "changed.png"))
    assert first.startswith(b"\x89PNG")
    assert second.startswith(b"\x89PNG")
    with wave.open(str(tmp_path / "out" / "answer.wav")) as sound:
        assert sound.getnframes() % making.SAMPLES_PER_CODE == 0
        assert sound.getnframes() > 0
