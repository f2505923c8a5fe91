"""Results on the terminal, and the same words in the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genopred.pipelines.benchmark import BenchmarkResult
    from genopred.pipelines.doctor import Diagnosis
    from genopred.pipelines.stack import StackResult

log = logging.getLogger("genopred.cli")

#: Columns of the table where stdout is a file or a pipe.
_FILE_WIDTH = 150


def show(name: str, result: Any) -> None:
    """Print what the workflow of this name found: tables where methods are compared, else the result's own lines."""
    if name == "stack":
        show_comparison(result)
    elif name == "benchmark":
        show_comparison(result.result)
        show_cost(result)
    elif name == "demo":
        show_comparison(result.stack, more=result.lines)
    elif name == "doctor":
        show_diagnosis(result)
    else:
        for line in result.lines():
            sys.stdout.write(f"{line}\n")


def show_comparison(result: StackResult, more: Mapping[str, Sequence[str]] | None = None) -> None:
    """Print the table that compares methods, what it means, `more` paragraphs by heading, and where the page is."""
    from rich.console import Console

    from genopred.report.page import reading
    from genopred.report.tables import GeneNames, summary_table, summary_tsv

    terminal = Console()
    width = terminal.width if terminal.is_terminal else _FILE_WIDTH
    console = Console(highlight=False, width=width)
    console.print(summary_table(result.summary, width=width))
    for line in reading(result.summary, result.scores, result.stack, GeneNames(result.symbols)):
        console.print(line, markup=False, soft_wrap=True)
    for line in summary_tsv(result.summary).splitlines():
        log.info(line, extra={"file_only": True})
    for note in result.notes:
        log.warning(note)
    for heading, paragraphs in (more or {}).items():
        console.print(f"\n{heading}", markup=False, style="bold")
        for paragraph in paragraphs:
            console.print(paragraph, markup=False, soft_wrap=True)
            log.info(paragraph, extra={"file_only": True})
    console.print(f"Page: {result.page}", markup=False, soft_wrap=True)


def show_cost(done: BenchmarkResult) -> None:
    """Print what the stack's parts and the peers cost, and why a peer was not run."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("CPU s per gene", justify="right")
    table.add_column("share", justify="right")
    for row in done.cost.iter_rows(named=True):
        share = "" if row["share"] is None else f"{row['share']:.0%}"
        table.add_row(row["what"], f"{row['seconds']:.2f}", share)
        log.info(f"{row['what']}: {row['seconds']:.3f} s of CPU per gene", extra={"file_only": True})
    if done.cost.height:
        Console(highlight=False).print(table)
    for note in done.notes:
        log.warning(note)


def show_diagnosis(result: Diagnosis) -> None:
    """Print what was found, the worst first, in its colour where the terminal has colours."""
    from rich.console import Console
    from rich.text import Text

    colours = {"green": "green", "amber": "yellow", "red": "bold red"}
    console = Console(highlight=False)
    for line in result.lines():
        level = line.split(" ")[0]
        text = Text(line)
        text.stylize(colours.get(level, "bold"), 0, len(level) if level in colours else len(line))
        console.print(text, soft_wrap=True)
