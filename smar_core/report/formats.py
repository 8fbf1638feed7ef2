"""How figures are written on the page: the filters of its templates."""

import base64
import datetime
from typing import Any

MINUS = "\N{MINUS SIGN}"

USUAL_CONFIDENCE = 0.95
"""Of intervals whose evaluation does not say: those of earlier versions."""


def figure(value: Any) -> str:
    """Return a count with thousands separated, any other number with three decimals, anything else as it is.

    >>> figure(12345), figure(0.5), figure("flat")
    ('12,345', '0.500', 'flat')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def percent(share: float) -> str:
    """Return a share in per cent, with a decimal only where its absence would say 0% or 100% of what is neither.

    >>> [percent(share) for share in (0, 0.004, 0.734, 0.998, 1, 2.43)]
    ['0%', '0.4%', '73%', '99.8%', '100%', '243%']
    """
    return f"{share:.1%}" if 0 < share < 0.095 or 0.995 <= share < 1 else f"{share:.0%}"


def confidence(share: float) -> str:
    """Return the confidence of an interval in per cent, as it was set.

    >>> confidence(0.9), confidence(0.995)
    ('90%', '99.5%')
    """
    return f"{100 * share:g}%"


def points(difference: float, num_decimals: int = 1) -> str:
    """Return a difference of shares in points, with its sign.

    >>> points(0.0553), points(-0.00001)
    ('+5.5', '+0.0')
    """
    return f"{round(100 * difference, num_decimals) + 0.0:+.{num_decimals}f}".replace("-", MINUS)


def signed_percent(value: float) -> str:
    """Return a relative difference, already in per cent, with its sign.

    >>> signed_percent(7.9)
    '+7.9%'
    """
    return f"{round(value, 1) + 0.0:+.1f}%".replace("-", MINUS)


def p_value(value: float) -> str:
    """Return a p-value as it is usually written.

    >>> p_value(0.0004), p_value(0.03), p_value(1.0)
    ('< 0.001', '0.030', '1.000')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


FILTERS = {
    "count": lambda value: f"{value:,.0f}",
    "figure": figure,
    "percent": percent,
    "points": points,
    "signed_percent": signed_percent,
    "p_value": p_value,
    "day": lambda iso: datetime.datetime.fromisoformat(iso).strftime("%-d %b %Y"),
    "data_uri": lambda jpeg: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(),
}
"""Filters of the templates by name."""
