"""Measured numbers as people read them: rounded to their errors, in tables for a terminal or for Markdown.

The conventions of a metric's dict are those of `trainers.metrics`.
"""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

WIDTH = 100  # columns of a terminal
PUBLISHED = Path(__file__).parents[1] / "results" / "published.json"


@dataclass(frozen=True)
class Number:
    """A number of a metric and what stands beside it; None where nothing does."""

    name: str
    value: float
    error: float | None = None
    floor: float | None = None
    deviation: float | None = None  # of the floor

    @property
    def texts(self):
        """(value, error, floor) as text."""
        return *rounded(self.value, self.error), plus_minus(self.floor, self.deviation)


def numbers(measured):
    """What a metric returned as (list of `Number`, dict of its settings)."""
    beside = {f"{name}_{what}" for name in measured for what in ("standard_error", "floor", "floor_deviation")}
    settings = {k: v for k, v in measured.items() if isinstance(v, str) or k.startswith(("num_", "judge"))}
    own = [name for name in measured if name not in beside | settings.keys()]
    parts = ("", "_standard_error", "_floor", "_floor_deviation")
    return [Number(name, *(measured.get(name + part) for part in parts)) for name in own], settings


def rounded(value, error=None):
    """(value, error) as text to the error's two significant digits; without one, four of the value; "" for None."""
    if value is None:
        return "", ""
    if not error:
        text = f"{value:.0f}" if isinstance(value, int) or abs(value) >= 9999.5 else f"{value:.4g}"
        return text, "" if error is None else "0"
    digits = 1 - int(f"{error:.1e}".partition("e")[2])  # that an error of 0.0996 is 0.10 is known after rounding only
    return tuple(f"{round(number, digits) + 0.0:.{max(digits, 0)}f}" for number in (value, error))  # no -0


def plus_minus(value, error=None):
    """The same as one text."""
    value, error = rounded(value, error)
    return f"{value} +- {error}" if error else value


def name_of(run_dir):
    """What the result of a run is called: as its directory, or, of one of several seeds, as that above."""
    path = Path(run_dir).absolute()
    return path.parent.name if path.name.startswith("seed_") else path.name


def published(name):
    """What papers found for the result of a name, dict metric -> number -> dict of value, error, source, protocol."""
    return json.loads(PUBLISHED.read_text()).get(name, {}) if PUBLISHED.exists() else {}


def terminal(results, papers):
    """Results, metric -> what it returned, and `papers`' numbers as a table, with the metrics' settings below it."""
    rows, settings = [("metric", "value", "standard error", "floor", "published")], {}
    for metric, measured in results.items():
        found, of_metric = numbers(measured)
        settings.setdefault(line_of(of_metric), []).append(metric)
        alone = [number.name for number in found] == [metric]
        rows += [] if alone else [(metric, "", "", "", "")]
        for number in found:
            paper = papers.get(metric, {}).get(number.name, {})
            paper = plus_minus(paper.get("value"), paper.get("error"))
            rows.append((metric if alone else f"  {number.name}", *number.texts, paper))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pairs = [zip(row, widths, strict=True) for row in rows]
    lines = ["  ".join(f"{text:{'>' if i else '<'}{width}}" for i, (text, width) in enumerate(row)) for row in pairs]
    settings.pop("", None)
    more = [f"{', '.join(metrics)}: {line}" for line, metrics in settings.items()]
    return "\n".join([line.rstrip() for line in lines] + [textwrap.fill(line, WIDTH) for line in more])


def line_of(settings):
    """Settings on one line."""
    return ", ".join(f"{name} {rounded(v)[0] if isinstance(v, float) else v}" for name, v in settings.items())
