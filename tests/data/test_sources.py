import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from sensorium.data import sources
from sensorium.data.download import download, watched_downloads
from sensorium.data.formats import READERS
from sensorium.data.sources import Source, SourceItem, listing_digest, registry, source
from sensorium.data.spec import DatasetSpec
from sensorium.errors import ConfigError, DataError

BODY = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(BODY).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- the registry ----------------------------------------------------------------------------------------------------


def test_every_source_states_its_terms_and_its_bytes() -> None:
    wanted = "tinystories storybooks_text chatterbot_corpus dialogue_zh sgd_dialogues tatoeba_en_zh babi_qa fairytaleqa"
    wanted += " gutenberg_nltk tinyshakespeare gsm8k qa_misc summarisation wikitext2 enwiki_sample zhwiki_sample"
    wanted += (
        " storybook_images noto_emoji cifar10 mnist_t10k easy_vqa nlvr fsdd librispeech ljspeech aishell audio_cmn"
    )
    assert set(f"{wanted} chinese_poetry simplification_nts checkpoints".split()) <= set(registry())
    for entry in registry().values():
        assert entry.licence
        assert entry.attribution
        assert all("@" in origin for origin in entry.origins)
        paths = [item.path for item in entry.items]
        assert len(set(paths)) == len(paths)
        for item in entry.items:
            assert item.format is None or item.format in READERS
            assert item.needs is None or any(fnmatch(path, item.needs) for path in paths)
            assert item.url is None or item.url.startswith("https://")


def test_share_alike_and_non_commercial_sources_do_not_ship() -> None:
    for entry in registry().values():
        if entry.ship:
            assert "SA" not in entry.licence.replace("CDLA-Sharing", "").split("(")[0]


def test_an_unknown_source_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown source 'tinystorys' \(did you mean 'tinystories'\?\)"):
        source("tinystorys")


@pytest.mark.parametrize("name", sorted(registry()))
def test_the_mirror_holds_the_registered_bytes(shared_data: Path, name: str) -> None:
    folder = source(name).fetch()
    assert folder == shared_data / name


# --- a mirror and a cache --------------------------------------------------------------------------------------------


@pytest.fixture
def made_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A source of one file and one folder, in a mirror; the cache is empty."""
    mirror = tmp_path / "mirror"
    (mirror / "made" / "folder" / "deep").mkdir(parents=True)
    (mirror / "made" / "a.txt").write_text("A story.")
    (mirror / "made" / "folder" / "b.txt").write_text("Another.")
    (mirror / "made" / "folder" / "deep" / "c.txt").write_text("A third.")
    monkeypatch.setenv("SENSORIUM_DATA", str(mirror))
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    entry = Source(
        name="made",
        title="Made",
        licence="MIT",
        ship=False,
        attribution="nobody",
        origins=("a/b@c",),
        items=(
            SourceItem(path="a.txt", sha256=sha256(b"A story."), n_bytes=8, format="text"),
            SourceItem(
                path="folder",
                sha256=listing_digest(mirror / "made" / "folder"),
                n_bytes=16,
                n_files=2,
                format="text",
                default=False,
            ),
        ),
    )
    monkeypatch.setattr(sources, "registry", lambda: {"made": entry})
    return entry


def names(spec: DatasetSpec) -> list[str]:
    return [file.name for file in spec.files()]


def test_a_data_set_reads_the_default_files_or_those_it_includes(made_source: Source) -> None:
    assert made_source.fetch().name == "made"
    assert names(DatasetSpec(source="made")) == ["made/a.txt"]
    everything = ["made/a.txt", "made/folder/b.txt", "made/folder/deep/c.txt"]
    assert names(DatasetSpec(source="made", include=("*",))) == everything
    assert names(DatasetSpec(source="made", include=("folder/*",))) == everything[1:]
    assert names(DatasetSpec(source="made", include=("folder/deep/c.txt", "a*"))) == [everything[0], everything[2]]
    with pytest.raises(DataError, match=r"made holds no file that matches \*\.md to read"):
        names(DatasetSpec(source="made", include=("*.md",)))


def test_what_ships_may_not_be_trained_on_what_does_not(made_source: Source) -> None:
    with pytest.raises(DataError, match=rf"source 'made' \({made_source.licence}\) may not train weights that ship"):
        DatasetSpec(source="made", ship=True).files()


def test_a_changed_file_in_the_mirror_is_refused(made_source: Source, tmp_path: Path) -> None:
    made_source.fetch()
    changed = tmp_path / "mirror" / "made" / "folder" / "b.txt"
    changed.write_text("Changed!")
    with pytest.raises(DataError, match=r"source made/folder has sha256 .*, not the registered .* mend the mirror"):
        made_source.fetch()
    changed.unlink()
    with pytest.raises(DataError, match="source made/folder has sha256"):
        made_source.fetch()


def test_a_file_is_digested_once_while_it_stays(made_source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    made_source.fetch()

    def never(path: Path) -> str:
        raise AssertionError(path)

    monkeypatch.setattr(sources, "_sha256", never)
    made_source.fetch()


def test_without_mirror_or_address_the_error_says_what_to_set(
    made_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"made/a.txt is available only through a mirror: set SENSORIUM_DATA .*does not"
    ):
        made_source.fetch()
    monkeypatch.delenv("SENSORIUM_DATA")
    with pytest.raises(DataError, match=r"set SENSORIUM_DATA to a folder that holds it$"):
        made_source.fetch()


def test_without_a_mirror_files_come_from_their_origin_and_stay_in_the_cache(
    made_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SENSORIUM_DATA")
    item = made_source.items[0].model_copy(update={"url": "https://example.org/a.txt"})
    entry = made_source.model_copy(update={"items": (item,)})
    fetched: list[tuple[str, str, int, str]] = []

    def fake(url: str, path: Path, *, sha256: str, n_bytes: int, name: str) -> None:
        fetched.append((url, sha256, n_bytes, name))
        path.parent.mkdir(parents=True)
        path.write_text("A story.")

    monkeypatch.setattr(sources, "download", fake)
    assert [entry.fetch(), entry.fetch()] == [tmp_path / "cache" / "sources" / "made"] * 2
    assert fetched == [("https://example.org/a.txt", sha256(b"A story."), 8, f"made/{item.path}")]


def test_the_registry_is_one_valid_file() -> None:
    text = (Path(sources.__file__).parent / "sources.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load(text)) == list(registry())
    with pytest.raises(ConfigError, match=r"made: unknown key 'license' \(did you mean 'licence'\?\)"):
        Source.parse({"name": "made", "license": "MIT"}, "made")


# --- downloads -------------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY: whole, from an offset, cut short, too long, or moved elsewhere."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range", ""))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "ftp://example.org/x")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        begin = 0
        if self.path == "/resumable" and self.headers.get("Range"):
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = BODY[begin:] if self.path != "/long" else BODY + b"more"
        self.send_response(206 if begin else 200)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def get(server: str, tmp_path: Path) -> Callable[..., Path]:
    def fetch(name: str, /, **settings: Any) -> Path:
        path = tmp_path / "cache" / "file"
        settings = {"sha256": DIGEST, "n_bytes": len(BODY), "schemes": ("http",), **settings}
        download(f"{server}/{name}", path, **settings)
        return path

    return fetch


def test_a_download_is_whole_and_reports_its_progress(get: Callable[..., Path]) -> None:
    seen: list[tuple[str, int, int]] = []
    with watched_downloads(lambda *told: seen.append(told)):
        path = get("whole", name="made/file")
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]
    assert seen == sorted(seen)
    assert seen[-1] == ("made/file", len(BODY), len(BODY))


def test_of_several_that_want_a_file_one_fetches_it(get: Callable[..., Path]) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(get, ["whole"] * 4))
    assert {path.read_bytes() for path in paths} == {BODY}
    assert Handler.asked == [""]


@pytest.mark.parametrize("server_resumes", [True, False])
def test_a_download_that_broke_off_goes_on(get: Callable[..., Path], tmp_path: Path, server_resumes: bool) -> None:
    with pytest.raises(DataError, match=r"broke off after 512000 of 1024000 bytes \(run again to go on from there\)"):
        get("cut")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["file.part"]
    assert get("resumable" if server_resumes else "whole").read_bytes() == BODY
    assert Handler.asked == ["", "bytes=512000-"]


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("whole", {"sha256": "0" * 64}, "has sha256 .*, not the registered 000000000000… .its origin changed"),
        ("long", {}, "is longer than the registered 1024000 bytes"),
        ("missing", {}, "cannot be fetched: Not Found .try again, or set SENSORIUM_DATA"),
        ("moved", {}, "ftp://example.org/x is not fetched: only http addresses are"),
        ("whole", {"schemes": ("https",)}, "is not fetched: only https addresses are"),
    ],
)
def test_a_download_that_is_not_what_it_should_be_leaves_nothing(
    get: Callable[..., Path], tmp_path: Path, name: str, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        get(name, **settings)
    assert not list(tmp_path.rglob("file*"))


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be fetched: .*refused") as caught:
        download("http://127.0.0.1:9/x", tmp_path / "x", sha256=DIGEST, n_bytes=1, schemes=("http",))
    assert "\n" not in str(caught.value)


def test_files_outside_the_network_are_never_fetched(tmp_path: Path) -> None:
    for url in ("file:///etc/passwd", "ftp://example.org/x", "http://example.org/x"):
        with pytest.raises(DataError, match="only https addresses are"):
            download(url, tmp_path / "x", sha256=DIGEST, n_bytes=1)
