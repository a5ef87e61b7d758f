"""Runs commands inside the test's process, as the shell would."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fusing
import pytest
from media_parts import picture, tone

from sensorium.cli.main import run
from sensorium.config import ModelConfig
from sensorium.hub.folder import save_pretrained
from sensorium.hub.pretrained import Pretrained
from sensorium.messages import Audio, Image
from sensorium.nn.omni import Omni
from sensorium.processing.processor import Processor
from sensorium.processing.tokenizer import Tokenizer


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("ask", "Hello!", stdin="")` gives the exit code and what was printed."""
    monkeypatch.delenv("SENSORIUM_DEBUG", raising=False)
    monkeypatch.delenv("SENSORIUM_MODEL", raising=False)

    def call(*arguments: object, stdin: str = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(ended.value.code, captured.out, captured.err)

    return call


@pytest.fixture
def refused(cli: Cli) -> Callable[..., str]:
    """Runs a command that must be refused: exit code 2 and one line on stderr, which is returned."""

    def call(*arguments: object, stdin: str = "") -> str:
        outcome = cli(*arguments, stdin=stdin)
        assert outcome.code == 2, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("sensorium: ")
        assert outcome.err.count("\n") == 1
        assert outcome.err.endswith("\n")
        return outcome.err.removeprefix("sensorium: ").rstrip("\n")

    return call


@pytest.fixture(scope="session")
def observer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model with eyes, ears and a common space, which knows nothing yet."""
    tokenizer = Tokenizer.train(["What is this? It is red. 这是什么？"] * 4, 340)
    settings = fusing.make_config("feature", vocab_size=tokenizer.vocab_size, max_positions=128)
    model = Omni(ModelConfig.parse(settings.model_dump(), "observer"))
    model.reset_parameters(1)
    folder = tmp_path_factory.mktemp("models") / "observer"
    save_pretrained(Pretrained(model.config, model.eval(), Processor(tokenizer, config=model.config)), folder)
    return folder


def _written(part: Image | Audio, path: Path) -> Path:
    assert part.data is not None
    path.write_bytes(part.data)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return _written(picture("red"), tmp_path / "my photo.png")


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return _written(tone(0.4), tmp_path / "voice.wav")
