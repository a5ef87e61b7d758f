from pathlib import Path

from published_codecs import write_janus_vq, write_mimi

import sensorium
from sensorium.config import FusionConfig
from sensorium.hub.folder import load_pretrained


def test_raw_eyes_and_ears_for_a_talker(cli, talker: Path, tmp_path: Path) -> None:
    outcome = cli("graft", "--decoder", talker, "--vision", "patches", "--speech", "frames", "--projector", "resampler",
                  "--queries", "4", "--fusion", "cross", "--name", "onlooker", tmp_path / "whole")  # fmt: skip
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{tmp_path / 'whole'}\n", "")
    config = load_pretrained(tmp_path / "whole").config
    assert config.fusion == FusionConfig(strategy="cross")
    assert config.vision is not None
    assert config.speech is not None
    assert (config.vision.n_places, config.speech.n_places(100)) == (4, 4)
    assert (tmp_path / "whole" / "MODEL_CARD.md").read_text().startswith("# onlooker\n")
    # Gates begin closed: what it said without eyes, it says with them.
    assert sensorium.load(tmp_path / "whole").chat("Bye.", temperature=0.0).text == "See you soon."


def test_eyes_pass_from_model_to_model(cli, talker: Path, tmp_path: Path) -> None:
    assert cli("graft", "--decoder", talker, "--vision", "patches", tmp_path / "one").code == 0
    joint = ("--projector", "pixel_shuffle", "--factor", 4)
    assert cli("graft", "--decoder", talker, "--vision", tmp_path / "one", *joint, tmp_path / "two").code == 0
    assert load_pretrained(tmp_path / "two").config.image_places() == 4


def test_codecs_of_published_models(cli, talker: Path, tmp_path: Path) -> None:
    write_janus_vq(tmp_path / "vq", num_patches=2)
    write_mimi(tmp_path / "mimi", sampling_rate=1000)
    codecs = ("--image-codec", tmp_path / "vq", "--speech-codec", tmp_path / "mimi", "--codebooks", 1)
    assert cli("graft", "--decoder", talker, *codecs, tmp_path / "whole").code == 0
    config = load_pretrained(tmp_path / "whole").config
    assert config.image_codec is not None
    assert config.speech_codec is not None
    assert (config.image_codec.kind, config.image_codec.n_codes) == ("janus_vq", 4)
    assert (config.speech_codec.kind, config.speech_codec.codes_per_second) == ("mimi", 62.5)


def test_what_is_wrong_is_said_in_one_line(refused, cli, talker: Path, tmp_path: Path) -> None:
    assert "nothing to join" in refused("graft", "--decoder", talker, tmp_path / "whole")
    assert "model_type None does not look" in _plain(refused, tmp_path, talker)
    assert "Missing option '--decoder'" in refused("graft", "--vision", "patches", tmp_path / "whole")
    assert "'magic'" in refused("graft", "--decoder", talker, "--projector", "magic", tmp_path / "whole")
    assert cli("graft", "--decoder", talker, "--vision", "patches", tmp_path / "fits").code == 0
    assert "already exists" in refused("graft", "--decoder", talker, "--vision", "patches", tmp_path / "fits")
    again = refused("graft", "--decoder", tmp_path / "fits", "--vision", "patches", tmp_path / "whole")
    assert "fits has eyes already" in again


def _plain(refused, tmp_path: Path, talker: Path) -> str:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    return refused("graft", "--decoder", talker, "--vision", tmp_path / "empty", tmp_path / "whole")
