"""A lab played by a learner: where they are, what the step asks, whether it is done, a hint, the solution.

Each function is one subcommand of `ambientlab lab`; those that can fail say so by their result. CommandError is raised
for what stands in the way, with a message for the learner.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ambientlab.labs import checks, display, world
from ambientlab.labs.environment import CommandError, Environment
from ambientlab.labs.model import Lab, Output
from ambientlab.labs.progress import Progress
from ambientlab.labs.shell import Shell


def start(lab: Lab, environment: Environment, console: Console) -> None:
    """Sets up the world and shows the first step; a lab that was begun here goes on where it was."""
    world.prepare(lab, environment)
    if Progress.load(lab.name, environment.directory) is None:
        Progress.start(lab.name, environment.directory)
    display.title(lab, console)
    show(lab, environment, console)


def show(lab: Lab, environment: Environment, console: Console) -> None:
    """The current step: what it is about, and the commands."""
    progress = _progress(lab, environment)
    if progress.step >= len(lab.steps):
        console.print("The lab is done.", highlight=False)
        return
    step = lab.steps[progress.step]
    display.step(step, progress.step + 1, len(lab.steps), console)
    for command in step.commands:
        display.command(command, console)
    console.print()
    _next(lab, environment, "check", "when you are done", console)


def check(lab: Lab, environment: Environment, console: Console) -> bool:
    """Runs the current step's checks; once all hold, goes on to the next step."""
    progress = _progress(lab, environment)
    if progress.step >= len(lab.steps):
        console.print("The lab is done.", highlight=False)
        return True
    passed = True
    for item in lab.steps[progress.step].checks:
        if isinstance(item, Output):  # what the learner's own terminal showed is not known here
            continue
        with console.status(Text(checks.describe(item))):  # it may take a minute until that is so
            verdict = checks.run(item, environment)
        display.verdict(verdict, console)
        passed = passed and verdict.passed
    if not passed:
        _next(lab, environment, "hint", "for a hint", console)
        return False
    progress.advance()
    show(lab, environment, console)
    return True


def hint(lab: Lab, environment: Environment, console: Console) -> None:
    """One hint more each time; after the last, the way to the solution."""
    progress = _progress(lab, environment)
    hints = lab.steps[progress.step].hints if progress.step < len(lab.steps) else ()
    if progress.hints < len(hints):
        progress.hints += 1
        progress.save()
    for text in hints[: progress.hints]:
        display.paragraphs(text, console)
    if progress.hints >= len(hints):
        _next(lab, environment, "solve", "types this step's commands for you", console)


def solve(lab: Lab, environment: Environment, console: Console) -> bool:
    """Types the current step's commands, then checks."""
    progress = _progress(lab, environment)
    if progress.step < len(lab.steps):
        step = lab.steps[progress.step]
        with environment.pinned() as pinned, Shell(pinned) as shell:
            for command in step.commands:
                display.command(command, console)
                shell.run(command, timeout=step.timeout, on_output=lambda text: display.output(text, console))
    return check(lab, environment, console)


def reset(lab: Lab, environment: Environment, console: Console) -> None:
    """Back to the world the lab starts from, and to its first step."""
    world.reset(lab, environment)
    Progress.start(lab.name, environment.directory)
    console.print(f"{lab.definition.title}: at its beginning again.", highlight=False)


def _progress(lab: Lab, environment: Environment) -> Progress:
    progress = Progress.load(lab.name, environment.directory)
    if progress is None:
        start_it = environment.ambientlab("lab", "start", lab.name)
        raise CommandError(f"the lab was not started here; start it: {start_it}")
    return progress


def _next(lab: Lab, environment: Environment, command: str, why: str, console: Console) -> None:
    line = environment.ambientlab("lab", command, lab.name)
    console.print(f"{line}   ({why})", highlight=False, markup=False, soft_wrap=True)
