"""A sample of answers as JSON, CSV, SVG and HTML."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from html import escape as escaped
from typing import Any

from ambientlab.traffic.answers import Requests
from ambientlab.traffic.expectations import Verdict
from ambientlab.traffic.tally import Group, Tally

PERCENTILES = (50, 90, 99, 100)
_NO_XML = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if chr(code) not in "\t\n\r"}
"""Characters that XML 1.0 has no way to write."""


def as_json(requests: Requests, by: str, tally: Tally, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Shares are fractions of 1, times seconds; what is not known is null."""
    return {
        "from": requests.source,
        "url": requests.url,
        "method": requests.method,
        "total": tally.total,
        "seconds": round(tally.seconds, 6),
        "by": by,
        "groups": [
            {"name": row.name, "count": row.count, "share": row.share, "interval95": list(row.interval)}
            for row in tally.rows()
        ],
        "outcomes": dict(tally.outcomes.most_common()),
        "latency": {name: _number(seconds) for name, seconds in latencies(tally)},
        "expectations": [
            {
                "expected": verdict.expected,
                "observed": verdict.observed,
                "fits": verdict.fits,
                "p": _number(verdict.p),
                "test": verdict.test or None,
            }
            for verdict in verdicts
        ],
    }


def latencies(tally: Tally) -> list[tuple[str, float]]:
    return [("max" if p == 100 else f"p{p}", tally.percentile(p)) for p in PERCENTILES]


def as_csv(tally: Tally, header: str) -> str:
    """One line for each answer, in the order they came."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["at", "seconds", "status", "problem", "service_ms", *([header] if header else []), "body"])
    for answer in tally.answers:
        shown = [answer.header] if header else []
        writer.writerow([*answer[:5], *shown, answer.body.rstrip("\n")])
    return out.getvalue()


_WIDTH, _LEFT, _BAR, _ROW = 720, 160, 340, 34
_COLOURS = ("#466bb0", "#d98b2b", "#4f9d69", "#a0529c", "#5aa7b8", "#8a8a3c")
_PROBLEM = "#c0392b"


def as_svg(requests: Requests, tally: Tally) -> str:
    """Bars of the shares, with the interval of each as a line."""
    rows = tally.rows()
    height = 62 + _ROW * len(rows)
    title = f"{tally.total} requests from {requests.source} to {requests.url}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="14"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="16" y="28" font-size="15">{escape(_cut(title, 88))}</text>',
    ]
    for i, row in enumerate(rows):
        parts.append(_bar(row, 46 + i * _ROW, _PROBLEM if " " in row.name else _COLOURS[i % len(_COLOURS)]))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(row: Group, y: int, colour: str) -> str:
    low, high = (_LEFT + _BAR * end for end in row.interval)
    middle = y + 11
    return (
        f'<text x="{_LEFT - 12}" y="{y + 16}" text-anchor="end">{escape(_cut(row.name, 18))}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{_BAR}" height="22" fill="#eee"/>'
        f'<rect x="{_LEFT}" y="{y}" width="{_BAR * row.share:.1f}" height="22" fill="{colour}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#222" stroke-width="2"/>'
        f'<text x="{_LEFT + _BAR + 12}" y="{y + 16}">{percent(row.share)} ({span(row)}), {row.count}</text>'
    )


def as_html(requests: Requests, by: str, tally: Tally, verdicts: Sequence[Verdict]) -> str:
    """A page that needs nothing else."""
    measured = "".join(f"<li>{escape(name)} {milliseconds(seconds)}</li>" for name, seconds in latencies(tally))
    outcomes = "".join(f"<li>{escape(name)}: {count}</li>" for name, count in tally.outcomes.most_common())
    judged = "".join(f"<li>{escape(text(verdict))}</li>" for verdict in verdicts)
    return (
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(requests.url)}</title><style>body{{font:16px system-ui,sans-serif;max-width:46rem;"
        "margin:2rem auto;padding:0 1rem}svg{max-width:100%;height:auto}</style>"
        f"<h1>Answers by {escape(by)}</h1>\n{as_svg(requests, tally)}"
        f"<h2>Outcomes</h2><ul>{outcomes}</ul><h2>Latency</h2><ul>{measured}</ul>"
        + (f"<h2>Expected</h2><ul>{judged}</ul>" if judged else "")
        + "</html>\n"
    )


def escape(words: str) -> str:
    return escaped(words.translate(_NO_XML))


def text(verdict: Verdict) -> str:
    sign = "✓" if verdict.fits else "✗"
    chance = "" if math.isnan(verdict.p) else f" (p={verdict.p:.2g}, exact {verdict.test} test)"
    return f"{sign} expected {verdict.expected}; came {verdict.observed}{chance}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def span(row: Group) -> str:
    low, high = row.interval
    return f"{100 * low:.1f}-{100 * high:.1f}"


def milliseconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1000 * seconds:.3g} ms"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cut(words: str, length: int) -> str:
    return words if len(words) <= length else words[: length - 1] + "…"
