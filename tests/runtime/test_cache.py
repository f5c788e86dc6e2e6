from __future__ import annotations

import threading
from pathlib import Path

import pytest

from curricle.runtime.cache import cache_root, cached_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path))


def test_a_folder_is_built_once_and_found_again() -> None:
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "file").write_text("x")

    first, second = cached_folder("kind", "key", build), cached_folder("kind", "key", build)
    assert first == second == cache_root() / "kind" / "key"
    assert (first / "file").read_text() == "x"
    assert len(built) == 1


def test_of_several_at_once_one_builds_and_the_rest_wait() -> None:
    built, found = [], []
    begin = threading.Barrier(4)

    def build(folder: Path) -> None:
        built.append(1)
        (folder / "file").write_text("x" * 100_000)

    def want() -> None:
        begin.wait()
        found.append((cached_folder("kind", "shared", build) / "file").stat().st_size)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1]
    assert found == [100_000] * 4


def test_a_build_that_fails_leaves_nothing() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached_folder("kind", "broken", fail)
    assert [p.name for p in (cache_root() / "kind").iterdir() if p.is_dir()] == []
