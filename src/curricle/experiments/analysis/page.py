"""The page of an analysis: one file, with its style within, that asks nothing of the network and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...runtime.files import write_text
from ..report.tables import Table
from ..report.words import flat
from ..report.write import HERE as PARTS
from ..report.write import self_contained
from . import charts
from .render import Row, cell, column_rows, foreseen_rows, layer_rows, line_rows, paired_rows
from .shape import Analysis
from .words import heading, remarks, summary

HERE = Path(__file__).parent
SHADES = 9


def write_page(analysis: Analysis, folder: Path) -> Path:
    path = folder / "report.html"
    style = "".join(
        (place / name).read_text(encoding="utf-8") for place, name in ((PARTS, "page.css"), (HERE, "page.css"))
    )
    write_text(path, self_contained("analysis.html.jinja", gather(analysis), style, folders=(HERE, PARTS)))
    return path


def gather(analysis: Analysis) -> dict[str, Any]:
    """By name, for the template."""
    several, foresight = len(analysis.layers) > 1, analysis.foresight
    page: dict[str, Any] = {
        "analysis": analysis,
        "summary": summary(analysis),
        "remarks": remarks(analysis),
        "scores": table(column_rows(analysis.columns)),
        "histograms": charts.histograms(analysis),
        "layers": [
            (layers.file if several else "", table(layer_rows(layers)), charts.layer_charts(layers, several, i))
            for i, layers in enumerate(analysis.layers)
        ],
        "agreement": _shaded(analysis),
        "foresight": foresight,
        "files": [(file.name, flat(_told(file))) for file in analysis.files],
        "version": version("curricle"),
    }
    if foresight is not None:
        page |= {
            "heading": heading(foresight, analysis.level),
            "foreseen": table(foreseen_rows(foresight)),
            "lines": line_rows(foresight),
            "paired": paired_rows(foresight),
            "panels": charts.panels(foresight),
            "tenths": charts.tenths(foresight),
        }
    return page | {"parts": _parts(page)}


def _told(file: Any) -> dict[str, Any]:
    return {"file": file.path, "labels": file.num_labels, **file.models, "settings": file.settings, "cost": file.cost}


def _parts(page: dict[str, Any]) -> list[tuple[str, str]]:
    parts = [
        ("foresight", "Against real difficulty", page["foresight"]),
        ("layers", "Layers", page["layers"]),
        ("scores", "Scores", True),
        ("agreement", "Agreement", True),
        ("samples", "Hardest and easiest", True),
        ("provenance", "Where it comes from", True),
    ]
    return [(name, title) for name, title, there in parts if there]


def table(rows: Sequence[Row]) -> Table:
    return Table(list(rows[0]), [[cell(value) for value in row.values()] for row in rows])


def _shaded(analysis: Analysis) -> list[tuple[str, list[tuple[str, str]]]]:
    """Name, and for each column the number and a class that shades it by its size, one kind a sign."""
    rows = []
    for i, (name, row) in enumerate(zip(analysis.agreement.names, analysis.agreement.rho, strict=True), start=1):
        cells = [("–", "") if rho is None else (f"{rho:z.2f}", _shade(rho)) for rho in row]
        rows.append((f"{i} {name}", cells))
    return rows


def _shade(rho: float) -> str:
    strength = min(SHADES, int(abs(rho) * 10))
    return f"{'up' if rho > 0 else 'down'}{strength}" if strength else ""
