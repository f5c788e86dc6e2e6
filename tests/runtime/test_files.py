from __future__ import annotations

import errno
from pathlib import Path

import pytest

from curricle.errors import RunError
from curricle.runtime.files import atomic_file, atomic_folder, disk_error, read_json, sha256_file, write_json


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_file(path) as handle:
            handle.write("new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_older_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_folder(path) as scratch:
            (scratch / "file").write_text(content)

    def fail() -> None:
        with atomic_folder(path) as scratch:
            (scratch / "file").write_text("three")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert (path / "file").read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_json_reads_back_and_is_stable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": None})
    write_json(tmp_path / "b.json", {"a": None, "b": [1, 2.5]})
    assert read_json(tmp_path / "a.json") == {"a": None, "b": [1, 2.5]}
    assert sha256_file(tmp_path / "a.json") == sha256_file(tmp_path / "b.json")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_line(number: int) -> None:
    error = disk_error(Path("x"), OSError(number, "full"))
    assert isinstance(error, RunError)
    assert "no space left" in str(error)
    assert "\n" not in str(error)
