import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sensorium.data.files import inner_suffix, open_bytes, read_text, skip_to
from sensorium.errors import DataError

LINES = b"".join(b"line %d of a file that is long enough to need some compressed bytes\n" % n for n in range(5000))


def written(folder: Path, ending: str, data: bytes = LINES) -> Path:
    path = folder / f"data.txt{ending}"
    if ending == ".gz":
        path.write_bytes(gzip.compress(data))
    elif ending == ".zst":
        path.write_bytes(zstandard.ZstdCompressor().compress(data))
    else:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_compressed_files_read_like_plain_ones(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, ending)
    with open_bytes(path, "data") as stream:
        assert stream.read() == LINES
    with open_bytes(path, "data") as stream:
        skip_to(stream, 12_345)
        assert stream.readline() == LINES[12_345 : LINES.index(b"\n", 12_345) + 1]


@given(st.lists(st.binary(max_size=2000), max_size=4))
def test_zstandard_files_may_have_many_frames(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("frames") / "data.zst"
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(part) for part in parts))
    with open_bytes(path, "data") as stream:
        assert stream.read() == b"".join(parts)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("keep", [0.3, 0.999])
def test_a_truncated_file_is_an_error_that_says_so(tmp_path: Path, ending: str, keep: float) -> None:
    path = written(tmp_path, ending)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with (
        pytest.raises(DataError, match=r"books is truncated: .* \(fetch it again\)"),
        open_bytes(path, "books") as stream,
    ):
        stream.read()


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_file_that_is_not_what_its_ending_says_is_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"data{ending}"
    path.write_bytes(LINES)
    with pytest.raises(DataError, match="is not a sound"), open_bytes(path, "books") as stream:
        stream.read()


def test_a_zstandard_bomb_is_read_in_small_pieces(tmp_path: Path) -> None:
    path = written(tmp_path, ".zst", bytes(2**28))
    assert path.stat().st_size < 2**14
    tracemalloc.start()
    with open_bytes(path, "bomb") as stream:
        assert stream.read(10) == bytes(10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**27


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="books does not exist"), open_bytes(tmp_path / "no.txt", "books"):
        pass


def test_text_that_is_not_utf8_is_an_error_that_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(DataError, match=r"books is not UTF-8: .* at byte 2"):
        read_text(path, "books")


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfhello")
    assert read_text(path, "books") == "hello"


def test_the_suffix_below_a_compression() -> None:
    assert [inner_suffix(Path(name)) for name in ("a.jsonl", "a.JSONL.GZ", "b.x.txt.zst")] == [
        ".jsonl",
        ".jsonl",
        ".txt",
    ]


def test_skipping_past_the_end_is_the_end() -> None:
    stream = io.BytesIO(b"abc")
    skip_to(stream, 10)
    assert stream.read() == b""
