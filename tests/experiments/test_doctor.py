"""The doctor reports what is there, and prints all of it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from curricle.cli import main
from curricle.experiments.doctor import doctor


def test_reports_what_is_there() -> None:
    health = doctor()
    assert health.versions["torch"] == metadata.version("torch")
    assert health.threads["within an operation"] == torch.get_num_threads()
    assert health.devices[0].name.startswith("cpu")
    assert len(health.devices) >= 1 + torch.cuda.device_count()
    assert 2**28 < health.memory_bytes < 2**50


def test_every_extra_is_described() -> None:
    asked = set(metadata.metadata("curricle").get_all("Provides-Extra") or [])
    health = doctor()
    assert {extra.name for extra in health.extras} == asked
    assert all(extra.adds and extra.packages for extra in health.extras)
    [dev] = [extra for extra in health.extras if extra.name == "dev"]
    assert dev.packages["pytest"] == metadata.version("pytest")


def test_the_cache_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "deep" / "cache"))
    assert (doctor().cache.size_bytes, doctor().cache.writable) == (0, True)
    assert not (tmp_path / "deep").exists()
    (tmp_path / "deep" / "cache").mkdir(parents=True)
    (tmp_path / "deep" / "cache" / "tokens.bin").write_bytes(b"x" * 1000)
    assert doctor().cache.size_bytes == 1000


def test_a_cache_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("CURRICLE_CACHE", str(tmp_path / "file" / "cache"))
    assert not doctor().cache.writable
    assert "NOT WRITABLE" in str(doctor())


def test_page_and_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    for name, version in found["versions"].items():
        assert any(line.split() == [name, *version.split()] for line in page.splitlines())
    for backend in found["attention"]:
        assert f"{backend['name']} " in page
    for extra in found["extras"]:
        assert extra["adds"] in page
        assert extra["installed"] or f"curricle[{extra['name']}]" in page
