import json
from pathlib import Path

import numpy as np
import pytest

import sensorium
from sensorium.hub.folder import load_pretrained


def test_info_as_json_counts_what_is_there(cli, talker: Path) -> None:
    facts = json.loads(cli("info", talker, "--json").out)
    pretrained = load_pretrained(talker)
    assert facts["parameters"] == sum(weight.numel() for weight in pretrained.model.parameters())
    assert facts["config"] == pretrained.config.model_dump(mode="json")
    assert facts["context"] == 96
    assert facts["can_chat"] is True
    assert facts["files"]["model.safetensors"] == (talker / "model.safetensors").stat().st_size
    assert facts["flops_per_token"]["training"] == 3 * facts["flops_per_token"]["inference"]
    # Two operations a weight at the least: those of the blocks and of the output matrix.
    assert facts["flops_per_token"]["inference"] > 2 * facts["parameters_without_embeddings"] * 0.9


def test_info_as_a_table(cli, talker: Path) -> None:
    outcome = cli("info", talker)
    assert outcome.code == 0
    assert "96 tokens" in outcome.out
    assert "rope_theta" in outcome.out


def test_info_tells_of_eyes_ears_and_every_part(cli, talker: Path, observer: Path) -> None:
    facts = json.loads(cli("info", observer, "--json").out)
    model = load_pretrained(observer).model
    assert facts["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert facts["parts"].keys() == {"decoder", "vision", "speech", "embedder"}
    assert facts["parts"]["vision"] == sum(weight.numel() for weight in model.vision.parameters())
    assert facts["senses"] == {
        "eyes": "vit, pictures of 16x16 pixels, 4 tokens each",
        "ears": "conv, recordings in windows of 0.4 s, 5 tokens for a whole one, spelled by CTC",
        "fusion": "feature",
        "embedder": "a common space of 8 numbers",
    }
    shown = cli("info", observer).out
    assert "parameters of speech" in shown
    assert "pictures of 16x16 pixels" in shown
    assert f"{facts['parameters']:,} parameters (decoder" in cli("info", observer, "--card").out
    assert json.loads(cli("info", talker, "--json").out)["senses"] == {}


def test_info_shows_the_card(cli, talker: Path) -> None:
    assert cli("info", talker, "--card").out.startswith("# ")


def test_export_and_import_come_round(cli, talker: Path, tmp_path: Path) -> None:
    assert cli("export", talker, tmp_path / "hf", "--format", "hf").out == f"{tmp_path / 'hf'}\n"
    assert cli("import", tmp_path / "hf", tmp_path / "back").code == 0
    ids = [5, 40, 7, 99, 12]
    ours, back = sensorium.load(talker), sensorium.load(tmp_path / "back")
    np.testing.assert_allclose(back.logits(ids), ours.logits(ids), rtol=1e-4, atol=1e-5)
    assert back.chat("Bye.", temperature=0.0).text == "See you soon."


def test_export_says_what_stays_behind(cli, onlooker: Path, talker: Path, tmp_path: Path) -> None:
    assert "only the decoder is written; left behind: vision, speech" in cli("export", onlooker, tmp_path / "hf").err
    assert cli("export", talker, tmp_path / "blind").err == ""


def test_export_as_our_own_folder(cli, talker: Path, tmp_path: Path) -> None:
    assert cli("export", talker, tmp_path / "own", "--format", "safetensors").code == 0
    ids = [5, 40, 7]
    np.testing.assert_array_equal(sensorium.load(tmp_path / "own").logits(ids), sensorium.load(talker).logits(ids))


@pytest.mark.parametrize("command", ["import", "export"])
def test_nothing_is_overwritten(refused, talker: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    assert "already exists" in refused(command, talker, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
