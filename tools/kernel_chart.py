"""A chart of what kernels cost on a board at growing sizes, as SVG: one panel a kernel, both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_WAYS = {
    "aot": ("AOT", "#0a6"),
    "native_libgcc": ("native -O3, libgcc", "#c33"),
    "native": ("native -O3, our floats", "#36c"),
}
"""What is drawn, and how it is named and coloured."""
_COLUMNS, _WIDTH, _HEIGHT, _MARGIN = 4, 240, 180, 40


def svg(measured: Mapping[str, Any]) -> str:
    """The chart of what `host bench --curves --json` printed."""
    names = [kernel["id"] for kernel in measured["kernels"]]
    panels = [
        _panel(name, [cost for cost in measured["curves"] if cost["id"] == name], number)
        for number, name in enumerate(names)
    ]
    height = math.ceil(len(names) / _COLUMNS) * _HEIGHT + 30
    legend = "".join(
        f'<text x="{20 + 230 * number}" y="{height - 10}" fill="{colour}">{name}</text>\n'
        for number, (name, colour) in enumerate(_WAYS.values())
    )
    note = f'<text x="{20 + 230 * len(_WAYS)}" y="{height - 10}">down: cycles an element; across: elements</text>\n'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_COLUMNS * _WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f"{''.join(panels)}{legend}{note}</svg>\n"
    )


def _panel(name: str, costs: list[Mapping[str, Any]], number: int) -> str:
    left, top = number % _COLUMNS * _WIDTH + _MARGIN, number // _COLUMNS * _HEIGHT + 25
    width, height = _WIDTH - _MARGIN - 15, _HEIGHT - 50
    counts = [cost["elements"] for cost in costs]
    figures = [cost[way] for cost in costs for way in _WAYS if cost[way]]
    least, most = min(figures), max(figures)

    def point(count: int, cycles: float) -> str:
        across = math.log(count / counts[0]) / math.log(counts[-1] / counts[0])
        up = math.log(cycles / least) / math.log(most / least)
        return f"{left + across * width:.1f},{top + (1 - up) * height:.1f}"

    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
        f'{" ".join(point(cost["elements"], cost[way]) for cost in costs if cost[way])}"/>\n'
        for way, (_, colour) in _WAYS.items()
    )
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>\n'
        f'<text x="{left}" y="{top - 6}" font-weight="bold">{name}</text>\n'
        f'<text x="{left - 4}" y="{top + 9}" text-anchor="end">{most:.0f}</text>\n'
        f'<text x="{left - 4}" y="{top + height}" text-anchor="end">{least:.0f}</text>\n'
        f'<text x="{left}" y="{top + height + 14}">{counts[0]}</text>\n'
        f'<text x="{left + width}" y="{top + height + 14}" text-anchor="end">{counts[-1]}</text>\n{lines}'
    )
