from pathlib import Path

import pytest

from sensorium.cli.progress import told_downloads
from sensorium.data import download, sources
from sensorium.data.sources import Source, SourceItem
from sensorium.data.spec import DatasetSpec


def test_a_data_set_that_is_fetched_says_so_and_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 40_000_000
    item = SourceItem(path="a.txt", sha256="0" * 64, n_bytes=size, format="text", url="https://example.org/a.txt")
    entry = Source(name="made", title="", licence="MIT", ship=True, attribution="", origins=(), items=(item,))
    monkeypatch.setattr(sources, "registry", lambda: {"made": entry})
    monkeypatch.setattr(sources, "_check", lambda *_: None)
    monkeypatch.setattr(download.urllib.request, "build_opener", lambda *_: Opener(size))
    monkeypatch.setattr(download.hashlib, "file_digest", lambda *_: Digest())
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    monkeypatch.delenv("SENSORIUM_DATA", raising=False)
    with told_downloads():
        [file] = DatasetSpec(source="made").files()
    assert file.path.stat().st_size == size
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0] == "fetching made/a.txt: 0.3 of 40.0 MB"
    assert lines[-1] == "fetching made/a.txt: 40.0 of 40.0 MB"


class Digest:
    def hexdigest(self) -> str:
        return "0" * 64


class Opener:
    """A server of so many bytes."""

    status = 200

    def __init__(self, size: int) -> None:
        self.left = size

    def open(self, *_: object, timeout: float) -> "Opener":
        assert timeout > 0
        return self

    def __enter__(self) -> "Opener":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, n: int) -> bytes:
        n = min(n, self.left)
        self.left -= n
        return bytes(n)
