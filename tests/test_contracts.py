"""What holds the project together: pinned versions, floors, licences, and nothing heavy before it is needed."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normalised(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normalised(name): version for name, version in pairs}


def test_every_dependency_is_pinned_and_explained() -> None:
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]:
        name = normalised(requirement)
        assert name in pinned(), f"{name} has no exact version in constraints.txt"
        assert f"`{name}`" in explained, f"docs/dependencies.md does not say what {name} is for"
    assert pinned()["torch"] == "2.13.0"


def test_what_dependencies_bring_is_pinned_too() -> None:
    for name in [normalised(requirement) for requirement in PROJECT["dependencies"]]:
        for requirement in requires(name) or []:
            if ";" not in requirement:
                assert normalised(requirement) in pinned(), f"{requirement} of {name} is not in constraints.txt"


@pytest.mark.parametrize("module", ["sensorium", "sensorium.cli.main", "sensorium.config", "sensorium.messages"])
def test_light_modules_do_not_import_torch(module: str) -> None:
    script = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_training_and_inference_do_not_need_each_other() -> None:
    for ours, others in [("train", "inference"), ("inference", "train")]:
        script = f"import sys, sensorium.{ours}; sys.exit(any('sensorium.{others}' in name for name in sys.modules))"
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0, ours


def test_every_module_says_what_it_is_for_and_fits_on_a_few_screens() -> None:
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(('"""', 'r"""')), path
        assert text.count("\n") <= 450, f"{path} has {text.count(chr(10))} lines: split it"


def test_nothing_is_unpickled_from_outside() -> None:
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\b(pickle|dill|marshal)\.(load|loads|Unpickler)\b|\bshelve\.open\b", text), path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, f"{path}: {call}"
