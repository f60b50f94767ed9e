# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Bar charts of ratios: the middle as a bar, from low to high as a line across its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.measure import Ratio

_WIDTH, _MARGIN = 960, 16
_LABELS, _VALUES = 330, 150
_PLOT = _WIDTH - 2 * _MARGIN - _LABELS - _VALUES
_ROW, _BAR, _HEADING, _GAP = 20, 12, 28, 14
_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #222 } .title { font-weight: 600 }
.page { fill: #fff } .bar { fill: #4a7fb0 } .range { stroke: #222; stroke-width: 1.5 }
.one { stroke: #b04a4a; stroke-dasharray: 3 3 }"""


@dataclass(frozen=True, slots=True)
class Chart:
    """The ratios of one column of a table, by what they are of."""

    title: str
    bars: Sequence[tuple[str, Ratio]]


def draw(title: str, charts: Sequence[Chart]) -> str:
    """An SVG document. A broken line is at 1 in every chart."""
    top = _MARGIN + _HEADING
    parts = []
    for chart in charts:
        parts += _chart(chart, top)
        top += _height(chart)
    height = top + _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
            f' width="{_WIDTH}" height="{height}">',
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
            _text(_MARGIN, _MARGIN + _BAR, title, "title"),
            *parts,
            "</svg>\n",
        ]
    )


def _height(chart: Chart) -> int:
    return _HEADING + _ROW * len(chart.bars) + _GAP


def _chart(chart: Chart, top: int) -> list[str]:
    left = _MARGIN + _LABELS
    widest = max(1.0, *(ratio.high for _, ratio in chart.bars))
    scale = _PLOT / widest
    parts = [_text(_MARGIN, top + _BAR, chart.title, "title")]
    for number, (label, ratio) in enumerate(chart.bars):
        y = top + _HEADING + _ROW * number - _BAR // 2
        middle = y + _BAR / 2
        low, high = left + max(0.0, ratio.low) * scale, left + max(0.0, ratio.high) * scale
        width = max(0.0, ratio.middle) * scale
        parts += [
            _text(_MARGIN, y + _BAR - 2, label),
            f'<rect class="bar" x="{left}" y="{y}" width="{width:.1f}" height="{_BAR}"/>',
            f'<path class="range" d="M{low:.1f} {middle}H{high:.1f}"/>',
            _text(_WIDTH - _MARGIN - _VALUES + 8, y + _BAR - 2, str(ratio)),
        ]
    bottom = top + _HEADING + _ROW * len(chart.bars) - _BAR // 2
    one = f"M{left + scale:.1f} {top + _HEADING - _BAR}V{bottom}"
    return [*parts, f'<path class="one" d="{one}"/>']


def _text(x: float, y: float, text: str, name: str = "") -> str:
    of_class = f' class="{name}"' if name else ""
    return f'<text x="{x}" y="{y}"{of_class}>{escape(text)}</text>'
