"""What the READMEs show, works: every block of commands runs, in order, in a copy of the checkout.

A comment before a block may say `not run: why`, `needs data` (the real sources), or `with: …` (what to add to the
block's last command, to keep it short).
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sensorium.hub.folder import load_pretrained
from sensorium.hub.resolve import shipped_models

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
_BLOCK = re.compile(r"(?:<!-- (?P<marker>[^\n]*) -->\n)?```(?P<language>sh|python)\n(?P<code>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    skipped: bool
    needs_data: bool

    @property
    def title(self) -> str:
        return self.code.splitlines()[0][:50]


def blocks(readme: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer((ROOT / readme).read_text(encoding="utf-8")):
        marker = match["marker"] or ""
        assert re.fullmatch(r"|not run: .+|(needs data)?(; )?(with: .+)?", marker), marker
        added = marker.partition("with: ")[2]
        code = match["code"].rstrip("\n") + (f" {added}" if added else "")
        found.append(Block(match["language"], code, marker.startswith("not run"), marker.startswith("needs data")))
    return found


def test_both_languages_show_the_same() -> None:
    english, chinese = (
        [re.sub(r'"[^"]*"|#.*', "", block.code).splitlines() for block in blocks(readme)] for readme in READMES
    )
    assert english == chinese
    headings = [re.findall(r"^#+", (ROOT / readme).read_text(encoding="utf-8"), re.MULTILINE) for readme in READMES]
    assert headings[0] == headings[1]


@pytest.mark.parametrize("readme", [*READMES, "docs/architecture.md", "docs/recipes.md", "docs/data.md"])
def test_links_lead_somewhere(readme: str) -> None:
    path = ROOT / readme
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader stands in, with a place of its own for what the commands write."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "src", "recipes", "examples"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope="module")
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The commands of this very environment, and make believing that it is the one it has set up.

    Where no model that sees and hears is shipped, a small one stands in for it.
    """
    venv = Path(sys.prefix)
    model = {}
    if "seedling" not in shipped_models() or load_pretrained("seedling").config.vision is None:
        onlooker = str(request.getfixturevalue("onlooker"))
        model = {"SENSORIUM_MODEL": onlooker, "MODEL": onlooker}
    return {
        **os.environ,
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VENV": str(venv),
        "MAKEFLAGS": f"-o {venv / '.run'}",
        "HF_HUB_OFFLINE": "1",
        **model,
    }


# The commands of a block may need what the block before left: one test walks through both READMEs.
def test_every_command_works(checkout: Path, environment: dict[str, str], request: pytest.FixtureRequest) -> None:
    every = [block for readme in READMES for block in blocks(readme)]
    ran = 0
    for index, block in enumerate(every):
        if block.skipped or block in every[:index]:
            continue
        if block.needs_data:
            request.getfixturevalue("shared_data")
        code = block.code
        if "SENSORIUM_MODEL" in environment:
            code = re.sub(r"(?<![\w/])seedling(?![\w./])", environment["SENSORIUM_MODEL"], code)
        command = (
            [sys.executable, "-c", code] if block.language == "python" else ["bash", "-euo", "pipefail", "-c", code]
        )
        done = subprocess.run(
            command, cwd=checkout, env=environment, input="Hello!\n", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block.title}\n{done.stdout}\n{done.stderr}"
        assert done.stdout, block.title
        ran += 1
    assert ran
