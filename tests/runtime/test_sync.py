"""A folder copied elsewhere: all of it, proved, and after a break only the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from curricle.errors import MissingExtra, RecipeError, RunError
from curricle.runtime.sync import MANIFEST, place, sync

NAMES = ("a.txt", "deep/er/b.bin", "deep/요약.json")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes([number]) * 1000 * number)
    for name in (".lock", ".model.partial", "half.tmp", "x.part"):
        (folder / name).write_text("nobody's business")
    return folder


@pytest.fixture(params=["folder", "memory"])
def dest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "dest")
    else:
        yield "memory://bucket/dest"
        fsspec.filesystem("memory").store.clear()


def content(dest: str) -> dict[str, bytes]:
    files, root = fsspec.core.url_to_fs(dest)
    return {path[len(root) + 1 :]: files.cat_file(path) for path in files.find(root)}


def overwrite(dest: str, name: str, text: bytes) -> None:
    files, root = fsspec.core.url_to_fs(dest)
    with files.open(f"{root}/{name}", "wb") as handle:
        handle.write(text)


def test_everything_arrives_and_is_vouched_for(source: Path, dest: str) -> None:
    done = sync(source, dest)
    assert (done.copied, done.there, done.num_bytes) == (3, 0, 3000)
    held = content(dest)
    vouched = held.pop(MANIFEST).decode().splitlines()
    assert held == {name: (source / name).read_bytes() for name in NAMES}
    assert vouched == [f"{hashlib.sha256(held[name]).hexdigest()}  {name}" for name in sorted(NAMES)]


def test_the_manifest_is_one_that_sha256sum_reads(source: Path, tmp_path: Path) -> None:
    import subprocess

    sync(source, tmp_path / "dest")
    done = subprocess.run(["sha256sum", "-c", MANIFEST], cwd=tmp_path / "dest", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("OK") == 3


def test_a_second_time_only_what_has_changed(source: Path, dest: str) -> None:
    sync(source, dest)
    (source / "a.txt").write_bytes(b"changed")
    (source / "new.txt").write_bytes(b"new")
    overwrite(dest, "only-there.txt", b"kept")
    done = sync(source, dest)
    assert (done.copied, done.there, done.others) == (2, 2, 1)
    assert content(dest)["a.txt"] == b"changed"
    assert content(dest)["only-there.txt"] == b"kept"
    assert "1 other file there left alone" in str(done)


def test_damage_is_found_when_asked_for_and_repaired(source: Path, dest: str) -> None:
    sync(source, dest)
    overwrite(dest, NAMES[1], b"\x07" * 1000)  # the same size
    assert sync(source, dest).copied == 0
    done = sync(source, dest, verify=True)
    assert (done.copied, done.repaired, done.there) == (1, 1, 2)
    assert content(dest)[NAMES[1]] == (source / NAMES[1]).read_bytes()


def test_a_file_cut_short_is_copied_again_unasked(source: Path, dest: str) -> None:
    sync(source, dest)
    overwrite(dest, NAMES[1], b"\x01" * 10)
    assert sync(source, dest).copied == 1


def test_a_broken_copy_goes_on(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    in_the_way = dest / NAMES[2] / "folder"
    in_the_way.mkdir(parents=True)
    with pytest.raises(RunError, match=r"directory.*; what has arrived is in MANIFEST"):
        sync(source, dest)
    assert not (dest / f"{NAMES[2]}.part").exists()
    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    done = sync(source, dest)
    assert (done.copied, done.there) == (1, 2)


def test_a_line_of_a_file_that_is_gone_goes_too(source: Path, dest: str) -> None:
    sync(source, dest)
    (source / "a.txt").unlink()
    files, root = fsspec.core.url_to_fs(dest)
    files.rm(f"{root}/a.txt")
    sync(source, dest)
    assert content(dest)[MANIFEST].count(b"\n") == 2


def test_back_from_an_address(source: Path, tmp_path: Path) -> None:
    sync(source, "memory://bucket/dest")
    back = tmp_path / "back"
    assert sync("memory://bucket/dest", back).copied == 3
    assert sync("memory://bucket/dest", back).there == 3
    assert {name: (back / name).read_bytes() for name in NAMES} == {n: (source / n).read_bytes() for n in NAMES}
    overwrite("memory://bucket/dest", "a.txt", b"x")
    with pytest.raises(RunError, match=r"a.txt is not what memory://bucket/dest/MANIFEST.sha256 says"):
        sync("memory://bucket/dest", tmp_path / "other")
    assert not (tmp_path / "other" / "a.txt").exists()
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_damaged_copy_on_a_disk_is_not_copied_back(source: Path, tmp_path: Path, scheme: str) -> None:
    copy, back = tmp_path / "copy", tmp_path / "back"
    sync(source, copy)
    assert sync(f"{scheme}{copy}", back).copied == 3
    (copy / "new.txt").write_bytes(b"of this no manifest knows")
    overwrite(str(copy), NAMES[1], b"\x07" * 1000)
    with pytest.raises(RunError) as refused:
        sync(f"{scheme}{copy}", back)
    said = str(refused.value)
    assert "\n" not in said
    assert said.startswith(f"{scheme}{copy}/{NAMES[1]} is not what {scheme}{copy}/{MANIFEST} says")
    assert said.endswith("fetch it again from where it came, or delete the manifest if the change was meant")
    assert (back / NAMES[1]).read_bytes() == (source / NAMES[1]).read_bytes()
    assert hashlib.sha256((source / NAMES[1]).read_bytes()).hexdigest() in (back / MANIFEST).read_text()
    (copy / MANIFEST).unlink()
    assert (sync(f"{scheme}{copy}", back).copied, (back / NAMES[1]).read_bytes()) == (2, b"\x07" * 1000)


def test_a_source_that_has_lost_a_file_says_so(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    sync(source, copy)
    (copy / "a.txt").unlink()
    assert sync(copy, tmp_path / "back").copied == 2
    assert f"{copy} lacks 1 file of its {MANIFEST}: a.txt" in capsys.readouterr().err


def test_a_manifest_that_is_no_text_is_refused(source: Path, tmp_path: Path) -> None:
    (source / MANIFEST).write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=r"source/MANIFEST.sha256 is no text, so it is damaged; delete it"):
        sync(source, tmp_path / "dest")


def test_what_was_not_read_back_is_not_said_to_be_sound(source: Path, dest: str) -> None:
    assert str(sync(source, dest)) == f"3 files copied to {dest} and read back (0.0 MiB); {MANIFEST} vouches for 3"
    again = f"0 files copied to {dest}, 3 there already"
    assert str(sync(source, dest)) == f"{again} and not read back (--verify does that); {MANIFEST} lists 3"
    assert str(sync(source, dest, verify=True)) == f"{again} and read back; {MANIFEST} vouches for 3"


def test_no_half_file_has_a_name(source: Path, tmp_path: Path) -> None:
    there = place(tmp_path / "dest")
    with there.writing("a.txt") as handle:
        handle.write(b"half")
        assert not (tmp_path / "dest" / "a.txt").exists()
    sync(source, tmp_path / "dest")
    assert (tmp_path / "dest" / "a.txt").read_bytes() == (source / "a.txt").read_bytes()


def test_places_that_cannot_be(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no folder"):
        sync(tmp_path / "nothing", tmp_path / "dest")
    with pytest.raises(RunError, match="copied into itself"):
        sync(source, source / "deep")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is a file"):
        sync(source, tmp_path / "file")
    with pytest.raises(RecipeError, match="fsspec knows"):
        sync(source, "nowhere://x")


def test_an_address_whose_package_is_missing(source: Path) -> None:
    import importlib.util

    if importlib.util.find_spec("s3fs") is not None:
        pytest.skip("s3fs is installed")
    with pytest.raises(MissingExtra, match=r"s3://bucket/x needs a package that is not installed: .*s3fs"):
        sync(source, "s3://bucket/x")
