"""Our own model folders: equal logits after a round trip, whole or not at all, and errors of one line."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sensorium.config import ModelConfig, SamplingConfig, TransformerConfig
from sensorium.errors import CheckpointError, ConfigError
from sensorium.hub import atomic
from sensorium.hub.folder import Pretrained, load_pretrained, save_pretrained
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 32,
    "max_positions": 64,
}
TEXT = "a small cat and a small dog and a small bird"


def grown(seed: int = 0, **settings: Any) -> Pretrained:
    config = ModelConfig(decoder=TransformerConfig(**(SMALL | settings)))
    model = Omni(config).eval()
    model.reset_parameters(seed)
    processor = Processor(Tokenizer.train([TEXT] * 4, 320))
    return Pretrained(config, model, processor, SamplingConfig(temperature=0.3, stop=("\n",)), name="small")


def logits(pretrained: Pretrained, input_ids: Tensor) -> Tensor:
    with torch.no_grad():
        return pretrained.model.logits(input_ids)


@pytest.mark.parametrize(
    "settings", [{}, {"tie_embeddings": False}, {"positions": "sinusoidal", "norm_placement": "post"}]
)
def test_a_saved_model_loads_to_the_same(settings: dict[str, Any], tmp_path: Path, input_ids: Tensor) -> None:
    before = grown(**settings)
    save_pretrained(before, tmp_path / "small")
    after = load_pretrained(tmp_path / "small")

    assert torch.equal(logits(after, input_ids), logits(before, input_ids))
    assert (after.config, after.sampling, after.name) == (before.config, before.sampling, "small")
    assert after.path == tmp_path / "small"
    assert not after.model.training
    assert before.processor is not None
    assert after.processor is not None
    assert after.processor.tokenizer.encode(TEXT) == before.processor.tokenizer.encode(TEXT)
    assert after.processor.stop_ids == before.processor.stop_ids
    assert "parameters" in (tmp_path / "small" / "MODEL_CARD.md").read_text()


def test_files_are_the_same_bytes_each_time_and_none_is_a_pickle(tmp_path: Path) -> None:
    for name in ("first", "second"):
        save_pretrained(grown(), tmp_path / name, card="# Small\n")
    files = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "MODEL_CARD.md",
        "tokenizer.json",
    } <= files.keys()
    assert files["MODEL_CARD.md"] == b"# Small\n"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_is_stored_small_and_computed_in_float32(
    dtype: torch.dtype, tmp_path: Path, input_ids: Tensor
) -> None:
    before = grown()
    save_pretrained(before, tmp_path / "small", dtype=dtype)
    after = load_pretrained(tmp_path / "small")
    rounded = Omni(before.config)
    rounded.load_state_dict({name: weight.to(dtype).float() for name, weight in before.model.state_dict().items()})

    assert (after.stored_dtype, after.model.dtype) == (dtype, torch.float32)
    with torch.no_grad():
        assert torch.equal(logits(after, input_ids), rounded.logits(input_ids))


def test_a_weight_beyond_float16_is_named(tmp_path: Path) -> None:
    pretrained = grown()
    with torch.no_grad():
        pretrained.model.decoder.blocks[1].mlp.up.weight[3, 4] = 1e6
    with pytest.raises(CheckpointError, match=r"decoder.blocks.1.mlp.up.weight reaches 1e\+06, beyond float16"):
        save_pretrained(pretrained, tmp_path / "small", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_a_tied_head_is_stored_once_and_stays_tied(tmp_path: Path) -> None:
    save_pretrained(grown(), tmp_path / "small")
    assert "decoder.head.weight" not in load_file(tmp_path / "small" / "model.safetensors")
    decoder = load_pretrained(tmp_path / "small").model.decoder
    assert decoder.head.weight is decoder.embeddings.token.weight


def test_a_loaded_model_learns_without_touching_its_file(tmp_path: Path) -> None:
    save_pretrained(grown(), tmp_path / "small")
    before = (tmp_path / "small" / "model.safetensors").read_bytes()
    decoder = load_pretrained(tmp_path / "small").model.train().decoder
    optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1)
    ids = torch.arange(20)[None]
    losses = []
    for _ in range(3):
        losses.append(decoder.loss(ids[:, :-1], ids[:, 1:]))
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[2] < losses[0]
    assert (tmp_path / "small" / "model.safetensors").read_bytes() == before


def test_a_model_can_be_saved_over_the_file_it_is_mapped_from(tmp_path: Path, input_ids: Tensor) -> None:
    save_pretrained(grown(), tmp_path / "small")
    mapped = load_pretrained(tmp_path / "small")
    expected = logits(mapped, input_ids).clone()
    with torch.no_grad():
        mapped.model.decoder.final_norm.weight.mul_(2)
    save_pretrained(mapped, tmp_path / "small")
    save_pretrained(grown(seed=9), tmp_path / "small")
    assert torch.allclose(logits(mapped, input_ids), 2 * expected)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_without_a_tokenizer_ids_still_work(tmp_path: Path, input_ids: Tensor) -> None:
    before = grown()
    before.processor = None
    save_pretrained(before, tmp_path / "small")
    after = load_pretrained(tmp_path / "small")
    assert after.processor is None
    assert torch.equal(logits(after, input_ids), logits(before, input_ids))


def test_other_peoples_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"already holds 'thesis.md', which is no part of a model"):
        save_pretrained(grown(), tmp_path)
    with pytest.raises(CheckpointError, match="exists and is not a folder"):
        save_pretrained(grown(), tmp_path / "thesis.md")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"thesis.md": "years of work"}


def test_a_full_disk_leaves_the_former_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, input_ids: Tensor
) -> None:
    former = grown()
    save_pretrained(former, tmp_path / "small")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_flush", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_pretrained(grown(seed=1), tmp_path / "small")
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert torch.equal(logits(load_pretrained(tmp_path / "small"), input_ids), logits(former, input_ids))


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_replacing_works_with_and_without_an_atomic_exchange(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, input_ids: Tensor
) -> None:
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    save_pretrained(grown(), tmp_path / "small")
    latter = grown(seed=1)
    save_pretrained(latter, tmp_path / "small")
    assert torch.equal(logits(load_pretrained(tmp_path / "small"), input_ids), logits(latter, input_ids))
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path, input_ids: Tensor) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").mkdir()
    (tmp_path / "latest").symlink_to("runs/first")
    model = grown()
    save_pretrained(model, tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert torch.equal(logits(load_pretrained(tmp_path / "runs" / "first"), input_ids), logits(model, input_ids))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "runs"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


KILLED = """
import os, signal, sys
from pathlib import Path
from sensorium.hub import atomic
moment = getattr(atomic, sys.argv[2])
def die(*arguments):
    if sys.argv[3] == "after":
        moment(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(atomic, sys.argv[2], die)
with atomic.staged_folder(Path(sys.argv[1]), {"value"}) as stage:
    (stage / "value").write_text("latter")
"""


@pytest.mark.parametrize(
    ("moment", "side", "value"),
    [("_flush", "before", "former"), ("_flush", "after", "former"), ("_exchange", "before", "former"),
     ("_exchange", "after", "latter")],
)  # fmt: skip
def test_a_kill_leaves_one_whole_version(moment: str, side: str, value: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "value").write_text("former")
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), moment, side], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "value").read_text() == value


def _break(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["decoder"] |= change
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dim": 20}, r"'decoder.*' has shape .*the configuration needs"),
        ({"vocab_size": 300}, "the tokenizer has 320 tokens, the weights only 300"),
        ({"n_layers": 3}, "lacks the tensor 'decoder.blocks.2."),
        ({"n_layers": 1}, "holds the tensor 'decoder.blocks.1."),
        ({"tie_embeddings": False}, "lacks the tensor 'decoder.head.weight'"),
    ],
)
def test_settings_that_do_not_fit_the_weights(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    pretrained = grown()
    assert pretrained.processor is not None
    assert pretrained.processor.tokenizer.vocab_size <= 320
    save_pretrained(pretrained, tmp_path / "small")
    _break(tmp_path / "small", change)
    words = words.replace("320", str(pretrained.processor.tokenizer.vocab_size))
    with pytest.raises(CheckpointError, match=words) as raised:
        load_pretrained(tmp_path / "small")
    assert "\n" not in str(raised.value)


def test_broken_configurations_are_one_line(tmp_path: Path) -> None:
    save_pretrained(grown(), tmp_path / "small")
    path = tmp_path / "small" / "config.json"
    whole = path.read_text()
    for content, words in (
        (whole[:30], "is not valid JSON"),
        ("[1, 2]", "must hold an object"),
        (whole.replace('"dim"', '"dimm"'), "unknown key 'decoder.dimm' .did you mean 'dim'"),
        (whole.replace('"version": 1', '"version": 2'), "version"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=words) as raised:
            load_pretrained(tmp_path / "small")
        assert "\n" not in str(raised.value)
        assert str(path) in str(raised.value)


def test_weights_with_a_tensor_too_many(tmp_path: Path) -> None:
    save_pretrained(grown(), tmp_path / "small")
    path = tmp_path / "small" / "model.safetensors"
    save_file(load_file(path) | {"decoder.blocks.0.attention.g.weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"holds the tensor 'decoder\.blocks\.0\.attention\.g\.weight'"):
        load_pretrained(tmp_path / "small")
