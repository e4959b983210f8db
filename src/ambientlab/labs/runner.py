"""Plays a lab by itself: types every command, checks every step, and sums up what was expected and what was seen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ambientlab.labs import checks, display, traffic, world
from ambientlab.labs.checks import Verdict
from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.model import Lab, Output, Step
from ambientlab.labs.shell import Shell


@dataclass(slots=True)
class StepResult:
    step: Step
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)


def run(lab: Lab, environment: Environment, console: Console) -> bool:
    """Whether every step was verified. A step that fails does not keep the later ones from being played."""
    started = time.monotonic()
    display.title(lab, console)
    results: list[StepResult] = []
    try:
        with environment.pinned() as pinned, Shell(pinned) as shell:
            world.prepare(lab, pinned)
            for number, step in enumerate(lab.steps, 1):
                display.step(step, number, len(lab.steps), console)
                results.append(_play(step, pinned, shell, console))
    except CommandError as error:
        display.trouble(str(error), console)
    _summary(lab, results, console)
    verified = sum(result.verified for result in results)
    seconds = time.monotonic() - started
    console.print(f"{verified} of {len(lab.steps)} steps verified in {seconds:.0f} s.", highlight=False)
    return verified == len(lab.steps)


def _play(step: Step, environment: Environment, shell: Shell, console: Console) -> StepResult:
    result = StepResult(step)

    def judged(verdict: Verdict) -> None:
        result.verdicts.append(verdict)
        display.verdict(verdict, console)

    if step.fails_before and (seen := _holds(step, environment)):
        judged(Verdict("nothing of this before the step", f"it holds already: {'; '.join(seen)}", False))
    output = ""
    for command in step.commands:
        display.command(command, console)
        done = shell.run(command, timeout=step.timeout, on_output=lambda text: display.output(text, console))
        output += done.output
        if done.status:
            judged(Verdict(f"`{command.splitlines()[0]}` succeeds", f"exit status {done.status}", False))
    for check in step.checks:
        judged(checks.run(check, environment, output=output))
    return result


def _holds(step: Step, environment: Environment) -> list[str]:
    """What was observed if all of a step's checks hold before its commands, else nothing. Of what the commands will
    print nothing can be said yet."""
    seen = []
    for check in step.checks:
        if not isinstance(check, Output):
            verdict = checks.run(check, environment, patient=False)
            if not verdict.passed:
                return []
            seen.append(verdict.observed)
    return seen


def _summary(lab: Lab, results: list[StepResult], console: Console) -> None:
    significance = f"splits judged by an exact test at {traffic.SIGNIFICANCE:g}"
    table = Table(title=f"{lab.definition.title} ({significance})", box=box.SIMPLE, title_justify="left")
    table.add_column("Step", ratio=3, overflow="fold")
    table.add_column("Expected", ratio=4, overflow="fold")
    table.add_column("Observed", ratio=4, overflow="fold")
    table.add_column("Verdict", no_wrap=True)
    for number, result in enumerate(results, 1):
        name = f"{number}. {result.step.title}"
        for verdict in result.verdicts or [Verdict("commands succeed", "they did", True)]:
            table.add_row(Text(name), Text(verdict.expected), Text(verdict.observed), display.mark(verdict))
            name = ""
    console.print(table)
