"""docs/cost.svg: costs over the number of services, both logarithmic, so that what grows in proportion is straight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10

from tests.cost.agent import Cost

LEFT, TOP, WIDTH, HEIGHT = 70.0, 20.0, 500.0, 300.0
DECADES_X, DECADES_Y = (1, 3), (-3, 2)  # 10 to 1,000 services; 0.001 to 100
LINES: tuple[tuple[str, str, Callable[[Cost], float]], ...] = (
    ("idle, % of a core", "#1f77b4", lambda one: one.idle * 100),
    ("start of all, CPU seconds", "#d62728", lambda one: one.start),
    ("a pass over all, CPU seconds", "#2ca02c", lambda one: one.one_pass * one.services),
    ("a change of one, CPU seconds", "#9467bd", lambda one: one.change),
)


def drawn(costs: Sequence[Cost]) -> str:
    """The whole file."""
    size = f'width="{LEFT + WIDTH + 20:.0f}" height="{TOP + HEIGHT + 120:.0f}"'
    body = [*_grid(), *(_line(costs, number) for number in range(len(LINES)))]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>", ""])


def _x(services: float) -> float:
    first, last = DECADES_X
    return LEFT + WIDTH * (log10(services) - first) / (last - first)


def _y(value: float) -> float:
    first, last = DECADES_Y
    return TOP + HEIGHT * (last - log10(value)) / (last - first)


def _grid() -> list[str]:
    found = []
    for power in range(DECADES_Y[0], DECADES_Y[1] + 1):
        y = _y(10.0**power)
        found.append(f'<path d="M{LEFT:.0f} {y:.1f}h{WIDTH:.0f}" stroke="#ddd"/>')
        found.append(f'<text x="{LEFT - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for power in range(DECADES_X[0], DECADES_X[1] + 1):
        x = _x(10.0**power)
        found.append(f'<path d="M{x:.1f} {TOP:.0f}v{HEIGHT:.0f}" stroke="#ddd"/>')
        found.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16:.0f}" text-anchor="middle">{10**power:,}</text>')
    below = TOP + HEIGHT + 34
    found.append(f'<text x="{LEFT + WIDTH / 2:.0f}" y="{below:.0f}" text-anchor="middle">services</text>')
    return found


def _line(costs: Sequence[Cost], number: int) -> str:
    name, colour, value = LINES[number]
    points = [(_x(one.services), _y(value(one))) for one in costs]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    y = TOP + HEIGHT + 54 + 17 * number
    legend = f'<path d="M{LEFT:.0f} {y - 4:.0f}h24" stroke="{colour}" stroke-width="2"/>'
    legend += f'<text x="{LEFT + 32:.0f}" y="{y:.0f}">{name}</text>'
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}{legend}'
