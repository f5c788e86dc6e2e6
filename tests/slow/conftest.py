"""A real browser for the tests that look at a report."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from slow.browser import Browser, browser, find_chromium


@pytest.fixture(scope="module")
def chromium() -> str:
    path = find_chromium()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium: .ci/run installs Debian's package `chromium`")
        pytest.skip("no Chromium here")
    return path


@pytest.fixture(scope="module")
def page(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened
