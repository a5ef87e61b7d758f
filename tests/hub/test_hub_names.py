"""What a model's name means: shipped with the package, a path, or an id on the hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
from torch import Tensor

from sensorium.errors import CheckpointError
from sensorium.hub import resolve
from sensorium.hub.folder import import_pretrained, load_pretrained

Build = Callable[..., transformers.PreTrainedModel]


@pytest.fixture
def shipped(tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships one model, `sprout`."""
    build("llama").save_pretrained(tmp_path / "theirs")
    import_pretrained(tmp_path / "theirs", tmp_path / "package" / "models" / "sprout")
    (tmp_path / "package" / "models" / "empty").mkdir()
    monkeypatch.setattr(resolve.resources, "files", lambda _: tmp_path / "package")
    return tmp_path / "package" / "models" / "sprout"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_shipped_name_comes_first_and_a_path_with_a_dot_second(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "sprout").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert resolve.shipped_models() == {"sprout": shipped}
    assert resolve.resolve_model("sprout") == shipped
    assert resolve.resolve_model("./sprout").resolve() == tmp_path / "here" / "sprout"
    assert load_pretrained("sprout").name == "sprout"


@pytest.mark.usefixtures("shipped", "offline")
def test_a_misspelt_name_is_told_the_nearest_one() -> None:
    with pytest.raises(CheckpointError, match=r"no model 'spruot'.*did you mean 'sprout'\?") as raised:
        load_pretrained("spruot")
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("shipped", "offline")
@pytest.mark.parametrize(
    "name", ["/no/such/folder", "a/b/c", "two words", Path("nowhere"), "x" * 5000 + "/", "~no-such-user/a"]
)
def test_what_cannot_be_an_id_is_a_missing_file(name: str | Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file or folder \(shipped models: sprout"):
        load_pretrained(name)


@pytest.mark.usefixtures("offline")
def test_a_hub_id_that_cannot_be_reached_says_so() -> None:
    with pytest.raises(CheckpointError, match=r"no model 'someone/something'.*cannot be reached") as raised:
        load_pretrained("someone/something")
    assert "\n" not in str(raised.value)


def test_a_hub_that_makes_no_sense_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs_up(*_: Any, **__: Any) -> str:
        raise KeyError("id")

    monkeypatch.setattr(resolve, "snapshot_download", hangs_up)
    with pytest.raises(CheckpointError, match=r"no model 'someone/something'.*could not be read: KeyError 'id'"):
        load_pretrained("someone/something")


def test_a_hub_id_in_the_cache_needs_no_network(tmp_path: Path, offline: Path, build: Build, input_ids: Tensor) -> None:
    reference = build("llama")
    reference.save_pretrained(tmp_path / "theirs")
    repository = offline / "models--someone--tiny-llama"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(tmp_path / "theirs", repository / "snapshots" / ("0" * 40))

    pretrained = load_pretrained("someone/tiny-llama")
    assert pretrained.name == "tiny-llama"
    with torch.no_grad():
        assert torch.allclose(pretrained.model.logits(input_ids), reference(input_ids).logits, atol=1e-4)


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no model folder: it has no config\.json"):
        load_pretrained(tmp_path)
