# SPDX-License-Identifier: Apache-2.0
"""Curves and bars as SVG: part of a page, sharp at any size, no library."""

import html
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from i2z_jax.types import Float, NDArray

COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2")
WIDTH, HEIGHT = 720, 200
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 12, 30
# Resolution of written coordinates, px.
DRAWN = 0.1
# A curve has at most this many points; of more, each shows the mean of its share.
MOST_POINTS = 1440


def curves(
    x: Sequence[float] | NDArray,
    series: Mapping[str, Sequence[float] | NDArray],
    *,
    x_label: str,
    y_label: str,
    shaded: Sequence[tuple[float, float]] = (),
) -> str:
    """Lines over a common x axis.

    Args:
        x: positions.
        series: name -> values; NaN leaves a gap.
        x_label: with its unit.
        y_label: with its unit.
        shaded: spans of x behind the lines (frames without a face); those that touch
            are drawn as one.

    Returns:
        an `<svg>` element.
    """
    x = np.asarray(x, float)
    values = {name: np.asarray(v, float) for name, v in series.items()}
    x_low, x_high = _range(x)
    y_low, y_high = _range(np.concatenate([*values.values()]))
    y_ticks = nice_ticks(y_low, y_high)
    y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])

    def across(v: float | NDArray) -> float | NDArray:
        return LEFT + (v - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def down(v: float | NDArray) -> float | NDArray:
        return (
            HEIGHT - BOTTOM - (v - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        )

    parts = [
        f'<rect class="lost" x="{a:.1f}" y="{TOP}" width="{b - a:.1f}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/>'
        for a, b in _joined(np.asarray(across(np.reshape(shaded, (-1, 2)))))
    ]
    parts += [
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(t):.1f}" '
        f'y2="{down(t):.1f}"/><text class="tick" x="{LEFT - 6}" y="{down(t) + 4:.1f}" '
        f'text-anchor="end">{t:g}</text>'
        for t in y_ticks
    ]
    parts += [
        f'<text class="tick" x="{across(t):.1f}" y="{HEIGHT - BOTTOM + 14}" '
        f'text-anchor="middle">{t:g}</text>'
        for t in nice_ticks(x_low, x_high)
        if x_low <= t <= x_high
    ]
    colours = dict(zip(values, itertools.cycle(COLOURS), strict=False))
    for name, v in values.items():
        for run in _runs(*_thinned(x, v)):
            points = " ".join(f"{across(a):.1f},{down(b):.1f}" for a, b in run)
            colour = colours[name]
            if len(run) == 1:
                cx, cy = points.split(",")
                parts.append(f'<circle cx="{cx}" cy="{cy}" r="2.5" fill="{colour}"/>')
            else:
                parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
    parts.append(
        f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">'
        f"{html.escape(x_label)}</text>"
    )
    legend = "".join(
        f'<span><i style="background:{colours[name]}"></i>{html.escape(name)}</span>'
        for name in values
    )
    return (
        f'<div class="plot"><div class="legend"><b>{html.escape(y_label)}</b>{legend}'
        f'</div><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(y_label)}">{"".join(parts)}</svg></div>'
    )


def bars(values: Mapping[str, float], *, unit: str) -> str:
    """Horizontal bars, one a name, with their numbers."""
    largest = max([*values.values(), 1e-12])
    rows = "".join(
        f'<div class="bar"><span>{html.escape(name)}</span>'
        f'<i style="width:{100 * value / largest:.1f}%"></i>'
        f"<b>{value:.3g} {html.escape(unit)}</b></div>"
        for name, value in values.items()
    )
    return f'<div class="bars">{rows}</div>'


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about four steps.

    >>> nice_ticks(0.0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((s for s in (1, 2, 5, 10)), key=lambda s: abs(s * power - rough))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(f"{k * step:.10g}") for k in np.arange(first, last + 1)]


def _range(values: NDArray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if high - low < 1e-9 * max(abs(low), 1e-6):
        spare = max(abs(low) * 0.1, 0.5)
        return low - spare, high + spare
    return low, high


def _joined(spans: Float[NDArray, "k 2"]) -> list[tuple[float, float]]:
    """Spans (px, at least 1 wide), overlapping and touching ones merged.

    So there are never more than the picture's width has room for.
    """
    joined: list[tuple[float, float]] = []
    for left, right in sorted(spans.tolist()):
        right = max(right, left + 1)
        if joined and left < joined[-1][1] + DRAWN:
            left, before = joined.pop()
            right = max(right, before)
        joined.append((left, right))
    return joined


def _thinned(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    if len(x) <= MOST_POINTS:
        return x, y
    shares = np.array_split(np.arange(len(x)), MOST_POINTS)
    means = [y[s].mean() for s in shares]  # NaN where one is: gaps stay gaps
    return np.array([x[s].mean() for s in shares]), np.array(means)


def _runs(x: NDArray, y: NDArray) -> list[list[tuple[float, float]]]:
    good = np.isfinite(y) & np.isfinite(x)
    edges = np.flatnonzero(np.diff(good.astype(int))) + 1
    pieces = np.split(np.arange(len(x)), edges)
    return [
        list(zip(x[p].tolist(), y[p].tolist(), strict=True))
        for p in pieces
        if len(p) and good[p[0]]
    ]
