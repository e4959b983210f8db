"""A plan written for a terminal: the objects, what goes another way, what is in vain, and what is wrong.

It reads without colour, in 80 columns: `+` is new, `-` goes, `~` is another than before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ambientlab.cli.analyze.report import plural
from ambientlab.cli.layout import INDENT, NOT_SEEN, WIDTH, located, not_seen, page, sides, to_paste, wrapped
from ambientlab.cli.plan.report import Report, together, who
from ambientlab.host.manifests import Problem
from ambientlab.host.rehearsal import Outcome
from ambientlab.host.seen import MINUTES
from ambientlab.mesh.analysis import Finding
from ambientlab.mesh.explain import words
from ambientlab.mesh.ir import Key, Match
from ambientlab.mesh.plan import Denial, Difference, Effect, Example, Fate, ref_of

_MARKS = {"created": "+", "configured": "~", "unchanged": "=", "deleted": "-", "pruned": "-"}
_FATES = {Fate.ADDED: "+", Fate.REMOVED: "-", Fate.CHANGED: "~"}
_COLUMN = 18
_MOST_REQUESTS, _MOST_SERVICES = 3, 4


def draw(report: Report) -> str:
    parts = [[*_objects(report.outcomes)]] if report.outcomes else []
    effects = report.plan.comparison.effects
    parts += [[*_effect(report, some)] for some in together(effects)]
    for title, lines in (
        ("Not pruned", [line for text in report.left for line in wrapped(text, INDENT, INDENT * 2)]),
        ("Denied, and in use", [line for denial in report.denied for line in _denial(denial)]),
        ("Warnings", [line for finding in report.plan.warnings for line in _warning(finding)]),
        ("Refused", [line for problem in report.problems for line in _problem(problem)]),
        (NOT_SEEN, [*not_seen(report.unseen)]),
    ):
        if lines:
            parts.append([title, *lines])
    parts.append([*wrapped(_summary(report), "")])
    return page(parts)


def _objects(outcomes: Iterable[Outcome]) -> Iterator[str]:
    for one in outcomes:
        yield from sides(f"{_MARKS[one.verb]} ", str(ref_of(one.change)), one.verb)
        if one.unasked:
            yield from wrapped(f"judged by ambientlab's rules: {one.unasked}", INDENT * 2)
        for warning in one.warnings:
            yield from wrapped(f"Warning: {warning}", INDENT * 2)


def _effect(report: Report, effects: Sequence[Effect]) -> Iterator[str]:
    first = effects[0]
    yield from wrapped(f"{_FATES[first.fate]} {_targets(effects)}", "", INDENT)
    yield from wrapped(f"from {who(report.index, first)}", INDENT, f"{INDENT}     ")
    if not first.every:
        yield from _requests(first)
    for subjects, difference in _together(first.differences):
        yield from _difference(subjects, difference, first.fate)


def _together(differences: Iterable[Difference]) -> Iterator[tuple[str, Difference]]:
    """Those that say the same of several ends, as one."""
    found: dict[object, list[Difference]] = {}
    for one in differences:
        found.setdefault((one.aspect, one.before, one.after, one.shares), []).append(one)
    for some in found.values():
        yield ", ".join(one.subject for one in some if one.subject), some[0]


def _targets(effects: Sequence[Effect]) -> str:
    pods = dict.fromkeys(pod for effect in effects for pod in effect.pods)
    ports: dict[str, dict[int, None]] = {}
    for effect in effects:
        name = f"{effect.service.kind} {effect.service.key}" if effect.service is not None else _addressed(list(pods))
        ports.setdefault(name, {})[effect.port] = None
    named = [f"{name}{_ports(list(some))}" for name, some in ports.items()]
    more = f" and {plural(len(named) - _MOST_SERVICES, 'other')}" if len(named) > _MOST_SERVICES else ""
    return f"{'; '.join(named[:_MOST_SERVICES])}{more}"


def _ports(some: Sequence[int]) -> str:
    if list(some) == [0]:
        return ""
    return f" port{'s' if len(some) > 1 else ''} {', '.join(str(port) if port else 'others' for port in some)}"


def _addressed(pods: Sequence[Key]) -> str:
    if len(pods) == 1:
        return f"Pod {pods[0]} by its own address"
    if len(pods) <= _MOST_SERVICES:
        return f"Pods {', '.join(map(str, pods))} by their own addresses"
    homes = list(dict.fromkeys(pod.namespace for pod in pods))
    more = f" and {plural(len(homes) - _MOST_SERVICES, 'other')}" if len(homes) > _MOST_SERVICES else ""
    return f"{len(pods)} Pods of {', '.join(homes[:_MOST_SERVICES])}{more} by their own addresses"


def _requests(effect: Effect) -> Iterator[str]:
    told = dict.fromkeys(map(_request, effect.examples))
    for text in list(told)[:_MOST_REQUESTS]:
        yield from wrapped(f"requests {text}", INDENT, INDENT * 3)
    if len(told) > _MOST_REQUESTS:
        yield f"{INDENT}and {plural(len(told) - _MOST_REQUESTS, 'other kind')} of requests"
    if not any(example.matches for example in effect.examples):
        # no route tells them apart, whose conditions would say it
        others = dict.fromkeys(map(_request, effect.others))
        yield from wrapped(f"but not {', '.join(list(others)[:_MOST_REQUESTS])}", INDENT, INDENT * 3)


def _request(example: Example) -> str:
    """An example, and what it stands for."""
    request = example.request
    headers = "".join(
        f" -H '{name}: {value}'" for name, value in request.headers if not (example.token and name == "authorization")
    )
    one = f"{request.method} {request.path.partition('?')[0] if example.token else request.path}{headers}"
    told = f"like {one} {example.token}" if example.token else f"like {one}"
    asked = dict.fromkeys(words.matching(match) for match in example.matches if match != Match())
    if not example.matches:
        return told
    return f"{told} ({'; '.join(asked) or 'and any other'})"


def _difference(subjects: str, one: Difference, fate: Fate) -> Iterator[str]:
    lead = f"{INDENT}{one.aspect:<{_COLUMN - 2}}  "
    if one.shares and fate is Fate.CHANGED and len(one.shares) > 1:
        for number, share in enumerate(one.shares):
            before, after = words.percent(share.before), words.percent(share.after)
            change = before if before == after else f"{before} → {after}"
            first = lead if number == 0 else " " * len(lead)
            yield from wrapped(f"{share.name}: {change}", first, " " * len(lead) + INDENT)
        return
    subject = f"{subjects}: " if subjects else ""
    change = {Fate.ADDED: one.after, Fate.REMOVED: one.before}.get(fate, f"{one.before} → {one.after}")
    later = " " * len(lead) + INDENT
    yield from wrapped(f"{subject}{change}", lead, later if len(lead) < WIDTH // 2 else INDENT * 3)


def _denial(denial: Denial) -> Iterator[str]:
    one = denial.connection
    count = f"{plural(one.count, 'connection')} in the last {MINUTES} minutes"
    yield from wrapped(f"! {one.client} to {one.host}:{one.port}: {count}", INDENT, INDENT * 3)
    for text in [] if denial.every else list(dict.fromkeys(map(_request, denial.examples)))[:_MOST_REQUESTS]:
        yield from wrapped(f"requests {text}", INDENT * 2, INDENT * 4)


def _warning(finding: Finding) -> Iterator[str]:
    yield from sides(f"{INDENT}! ", str(finding.object), f"{finding.code.id} {finding.code.name}")
    yield from wrapped(located(finding.field, finding.message), INDENT * 2)
    for remedy in finding.remedies:
        yield from to_paste(remedy, INDENT * 2)


def _problem(problem: Problem) -> Iterator[str]:
    where = f"{problem.file}:{problem.line} (document {problem.number})" if problem.file else ""
    yield from sides(f"{INDENT}✗ ", problem.named or "no object", where)
    yield from wrapped(problem.message, INDENT * 2)


def _summary(report: Report) -> str:
    comparison = report.plan.comparison
    touched = comparison.services - comparison.untouched
    faults = f"; {plural(len(report.problems), 'object')} refused" if report.problems else ""
    if not comparison.effects:
        return f"No change for traffic: {plural(comparison.services, 'service')} untouched{faults}."
    return f"{plural(touched, 'service')} changed, {comparison.untouched} untouched{faults}. Nothing was written."
