"""Results on the terminal, and the same words in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genopred.pipelines.stack import StackResult

log = logging.getLogger("genopred.cli")

#: Columns of the table where stdout is a file or a pipe.
_FILE_WIDTH = 150


def show_comparison(result: StackResult) -> None:
    """Print the table that compares methods to stdout, and say what it means and where the page is."""
    from rich.console import Console

    from genopred.report.page import reading
    from genopred.report.tables import summary_table, summary_tsv

    console = Console(highlight=False)
    width = console.width if console.is_terminal else _FILE_WIDTH
    console = Console(highlight=False, width=width)
    console.print(summary_table(result.summary, width=width))
    for line in reading(result.summary, result.scores, result.stack):
        console.print(line, markup=False, soft_wrap=True)
    for line in summary_tsv(result.summary).splitlines():
        log.info(line, extra={"file_only": True})
    for note in result.notes:
        log.warning(note)
    console.print(f"Page: {result.page}", markup=False, soft_wrap=True)
