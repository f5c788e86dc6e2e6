"""Write report.html and report.md. One file each, made whole or not at all; the page asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ...runtime.files import write_text
from ..comparison.shape import Comparison
from . import words
from .page import gather

HERE = Path(__file__).parent

CODE = re.compile(r"`([^`]+)`")
MEANS_SOMETHING = re.compile(r"[\\`*<>|~]|^[#+=-]|(?<!\w)_|_(?!\w)|(?<=\])[(\[:]")
"""What Markdown reads as more than itself: marks, what starts a block at the head of a line, the middle of a link."""


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Both pages, into the experiment's folder; the path of the HTML one."""
    page = gather(comparison, folder)
    write_text(folder / "report.html", _html(page))
    write_text(folder / "report.md", _markdown(page))
    return folder / "report.html"


def _html(page: dict[str, Any]) -> str:
    style, script = (HERE / "page.css").read_text(encoding="utf-8"), (HERE / "page.js").read_text(encoding="utf-8")
    return self_contained("report.html.jinja", page, style, script)


def self_contained(
    template: str, page: dict[str, Any], style: str, script: str = "", folders: Sequence[Path] = (HERE,)
) -> str:
    """A page with its style and script within; its policy lets the browser load nothing and run nothing else."""
    sources = f"style-src '{_hash(style)}'" + (f"; script-src '{_hash(script)}'" if script else "")
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    found = _environment(autoescape=True, folders=folders).get_template(template)
    return found.render(page, style=Markup(style), script=Markup(script), policy=Markup(policy))


def _hash(text: str) -> str:
    """By which the page's policy knows its own script and style, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _markdown(page: dict[str, Any]) -> str:
    text = _environment(autoescape=False).get_template("report.md.jinja").render(page)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(autoescape: bool, folders: Sequence[Path] = (HERE,)) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folders), autoescape=autoescape, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.globals["signs"] = words.SIGNS
    environment.filters |= {
        "number": words.number,
        "p_value": words.p_value,
        "direction": words.direction,
        "with_spread": words.with_spread,
        "spread": words.spread,
        "mean": words.mean,
        "cell": _cell,
        "block": _block,
        "prose": _prose_in_html if autoescape else _prose_in_markdown,
    }
    return environment


def _cell(text: Any) -> str:
    """One line of Markdown that says just this."""
    return _escaped(" ".join(str(text).split()))


def _escaped(line: str) -> str:
    return MEANS_SOMETHING.sub(r"\\\g<0>", line)


def _prose_in_markdown(text: str) -> str:
    """A sentence of ours, in which backticks are meant."""
    parts = CODE.split(" ".join(text.split()))
    return "".join(f"`{part.replace('|', chr(92) + '|')}`" if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _prose_in_html(text: str) -> Markup:
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def _block(text: Any) -> str:
    """Untrusted text as an indented block, which nothing within can end."""
    return "\n".join(f"    {line}" for line in str(text).splitlines() or [""])
