"""How a lab looks in a terminal and in a plain log: the console decides on colour, these lines decide on the rest."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ambientlab.labs.checks import Verdict
from ambientlab.labs.model import Lab, Step

PROMPT = "$ "
CONTINUED = "> "


def title(lab: Lab, console: Console) -> None:
    console.print(Text(lab.definition.title, style="bold"))
    console.print(Text(" ".join(lab.definition.summary.split())))


def step(step: Step, number: int, total: int, console: Console) -> None:
    console.print()
    console.print(Text(f"── {number}/{total}  {step.title}", style="bold cyan"))
    paragraphs(step.text, console)


def paragraphs(text: str, console: Console) -> None:
    """Wrapped to the console; the source's own line breaks inside a paragraph mean nothing."""
    for paragraph in text.strip().split("\n\n"):
        console.print(Text(" ".join(paragraph.split())))
        console.print()


def command(command: str, console: Console) -> None:
    """As typed, however long: a line that was folded here could not be copied."""
    lines = command.rstrip("\n").splitlines()
    for index, line in enumerate(lines):
        prompt = CONTINUED if index else PROMPT
        console.print(Text(prompt + line, style="bold"), soft_wrap=True)


def output(text: str, console: Console) -> None:
    """What a command printed, untouched."""
    if text:
        console.out(text, end="" if text.endswith("\n") else "\n", highlight=False)


def mark(verdict: Verdict) -> Text:
    return Text("✓ ok", "green") if verdict.passed else Text("✗ FAIL", "bold red")


def verdict(verdict: Verdict, console: Console) -> None:
    line = Text.assemble(mark(verdict), f"  {verdict.expected}", ("  → ", "dim"), verdict.observed)
    console.print(line, soft_wrap=True)


def trouble(message: str, console: Console) -> None:
    console.print(Text.assemble(("✗ ", "bold red"), message), soft_wrap=True)
