"""A line search for the strong Wolfe conditions, by cubic interpolation.

Source: Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6, with the choices of
`torch.optim.LBFGS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_DECREASE, _CURVATURE = 1e-4, 0.9
_LEAST_CHANGE = 1e-9


@dataclass(eq=False)
class Point:
    """What is known of the objective at one place.

    Attributes:
        result: what the closure returned.
        loss: that as a number.
        grad: the gradient, one vector.
        slope: its product with the direction.
    """

    result: Any
    loss: float
    grad: Any
    slope: float = 0.0


def strong_wolfe(
    at: Callable[[float], Point], start: Point, t: float, size: float, most: int
) -> tuple[Point, float, int]:
    """A step length that lowers the objective enough and flattens it enough.

    Args:
        at: the objective at a step length.
        start: the objective at 0.
        t: the first length to try.
        size: the largest element of the direction.
        most: how many lengths may be tried after the first.

    Returns:
        The point found, its length, how many lengths were tried.
    """

    def too_high(t: float, point: Point) -> bool:
        return point.loss > start.loss + _DECREASE * t * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -_CURVATURE * start.slope

    point, tried, calls = at(t), 0, 1
    last_t, last = 0.0, start
    ends: list[tuple[float, Point]] = []
    while tried < most:
        if too_high(t, point) or (tried > 1 and point.loss >= last.loss):
            ends = [(last_t, last), (t, point)]
            break
        if flat(point):
            return point, t, calls
        if point.slope >= 0:
            ends = [(last_t, last), (t, point)]
            break
        bounds = t + 0.01 * (t - last_t), t * 10
        new = interpolate(last_t, last, t, point, bounds)
        last_t, last, t = t, point, new
        point = at(t)
        tried, calls = tried + 1, calls + 1
    else:
        ends = [(0.0, start), (t, point)]

    low, high = (0, 1) if ends[0][1].loss <= ends[1][1].loss else (1, 0)
    stuck = done = False
    while not done and tried < most:
        least, largest = sorted((ends[0][0], ends[1][0]))
        if (largest - least) * size < _LEAST_CHANGE:
            break
        t = interpolate(*ends[0], *ends[1])
        margin = 0.1 * (largest - least)
        if min(largest - t, t - least) < margin:
            # So near an end, twice or beyond it: a tenth inside of it instead.
            if stuck or t >= largest or t <= least:
                t = largest - margin if abs(t - largest) < abs(t - least) else least + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = at(t)
        tried, calls = tried + 1, calls + 1
        if too_high(t, point) or point.loss >= ends[low][1].loss:
            ends[high] = t, point
            low, high = (0, 1) if ends[0][1].loss <= ends[1][1].loss else (1, 0)
        else:
            if flat(point):
                done = True
            elif point.slope * (ends[high][0] - ends[low][0]) >= 0:
                ends[high] = ends[low]
            ends[low] = t, point
    t, point = ends[low]
    return point, t, calls


def interpolate(
    t1: float, one: Point, t2: float, two: Point, bounds: tuple[float, float] | None = None
) -> float:
    """Where the cubic through two points with these slopes is least, within bounds (the points)."""
    least, largest = sorted((t1, t2)) if bounds is None else bounds
    d1 = one.slope + two.slope - 3 * (one.loss - two.loss) / (t1 - t2)
    square = d1 * d1 - one.slope * two.slope
    if not square >= 0:
        return (least + largest) / 2
    if t1 > t2:
        (t1, one), (t2, two) = (t2, two), (t1, one)
    d2 = math.sqrt(square)
    rise = two.slope - one.slope + 2 * d2
    if rise == 0:
        return (least + largest) / 2
    t = t2 - (t2 - t1) * ((two.slope + d2 - d1) / rise)
    return min(max(t, least), largest)
