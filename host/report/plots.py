"""Pictures of a report as inline SVG, coloured by the page's style sheet.

All text goes through ``Markup.format``, which escapes what is not markup already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from host.report.text import visible

_BAR, _GAP, _HEIGHT, _TOP, _BOTTOM = 28, 4, 90, 16, 18  # user units, as pixels
_LEAST = 2  # height of a bar that stands for anything at all


@dataclass(frozen=True)
class Bar:
    """A bin of a histogram: what is below it, how many, what is above it, and whether it is an alarm."""

    label: str
    count: int
    above: str
    alarm: bool = False


def histogram(title: str, description: str, bars: Sequence[Bar]) -> Markup:
    """Bars over their bins. Heights are shares of the highest, so the numbers above are what tells.

    An alarm is outlined in dashes and has an exclamation mark: colour is not the only sign.
    """
    highest = max((bar.count for bar in bars), default=0) or 1
    drawn = Markup("").join(_bar(number, bar, highest) for number, bar in enumerate(bars))
    width, floor = len(bars) * (_BAR + _GAP) + _GAP, _TOP + _HEIGHT
    return Markup(
        '<svg class="plot" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">'
        "<title>{2}</title><desc>{3}</desc>{4}"
        '<line class="axis" x1="0" y1="{5}" x2="{0}" y2="{5}"/></svg>'
    ).format(width, floor + _BOTTOM, visible(title), visible(description), drawn, floor)


def _bar(number: int, bar: Bar, highest: int) -> Markup:
    height = max(_LEAST, round(bar.count / highest * _HEIGHT)) if bar.count else 0
    left, top = _GAP + number * (_BAR + _GAP), _TOP + _HEIGHT - height
    middle = left + _BAR // 2
    alarm = bar.alarm and bar.count > 0
    return Markup(
        '<rect class="{0}" x="{1}" y="{2}" width="{3}" height="{4}"/>'
        '<text x="{5}" y="{6}">{7}</text><text x="{5}" y="{8}">{9}</text>'
    ).format(
        "bar alarm" if alarm else "bar",
        left,
        top,
        _BAR,
        height,
        middle,
        top - 4,
        visible(bar.above) + ("!" if alarm else ""),
        _TOP + _HEIGHT + 12,
        visible(bar.label),
    )


def gauge(value: float, most: float) -> Markup:
    """A line as long as ``value`` of ``most``, beside a number that says the same."""
    return Markup(
        '<svg class="gauge" viewBox="0 0 100 6" width="100" height="6" aria-hidden="true">'
        '<rect class="bar" width="{0:.1f}" height="6"/></svg>'
    ).format(100 * value / most if most else 0.0)
