"""How a table looks in Markdown, in LaTeX and as plain text; what it says is decided in `tables.py`."""

import textwrap
from dataclasses import dataclass, field

from tabulate import tabulate


@dataclass(frozen=True)
class Cell:
    """`rank` is a place of `statistics.rank_variants`, or 0; `notes` holds letters of footnotes.

    `short` is what a terminal or a page has room for, if that is not the whole text.
    """

    text: str
    rank: int = 0
    short: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Row:
    """A terminal or a page has room for the `name` only; Markdown has the `title` before it."""

    name: str
    cells: list[Cell]
    title: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Note:
    """A footnote: with a letter where it belongs to some cells, without one where it belongs to all."""

    text: str
    letter: str = ""


@dataclass(frozen=True)
class Table:
    """Groups of rows, by heading, under one header of (name, unit) pairs for what follows the row's name."""

    title: str
    header: list[tuple[str, str]]
    groups: dict[str, list[Row]]
    notes: list[Note] = field(default_factory=list)
    remark: str = ""
    chain: str = ""  # digest of what the table was made from, see `core.lineage`


def to_markdown(table: Table) -> str:
    """One Markdown table for each group; best in bold, second best in italics."""
    header = ["", *(f"{name} ({unit})" if unit else name for name, unit in table.header)]
    align = ["left"] + ["right"] * len(table.header)
    parts = [f"## {table.title}", table.remark, _chain(table)]
    for heading, rows in table.groups.items():
        body = [[_markdown_name(row), *map(_markdown, row.cells)] for row in rows]
        parts += [
            heading and f"### {heading}",
            tabulate(body, header, "pipe", disable_numparse=True, colalign=align),
        ]
    if _ranked(table):
        parts.append("**Best** and *second best* of each column; = tied for best, not told apart.")
    notes = [f"- {f'<sup>{note.letter}</sup> ' if note.letter else ''}{note.text}" for note in table.notes]
    return "\n\n".join(filter(None, [*parts, "\n".join(notes)])) + "\n"


def _chain(table: Table) -> str:
    return f"Chain {table.chain}: `vsrbench check` confirms it." if table.chain else ""


def _markdown_name(row: Row) -> str:
    return _markdown(Cell(f"{row.title} `{row.name}`" if row.title else row.name, notes=row.notes))


def _markdown(cell: Cell) -> str:
    text = ("{}", "**{}**", "*{}*", "{} =")[cell.rank].format(cell.text)
    return text + (f" <sup>{cell.notes}</sup>" if cell.notes else "")


def _ranked(table: Table) -> bool:
    return any(cell.rank for rows in table.groups.values() for row in rows for cell in row.cells)


def to_text(table: Table) -> str:
    """Plain text for a terminal; `*` is the best and `+` the second best of a column."""
    names, units = zip(("", ""), *table.header, strict=True)
    groups = {
        heading: [[_text(Cell(row.name, notes=row.notes)), *map(_text, row.cells)] for row in rows]
        for heading, rows in table.groups.items()
    }
    everything = [[f"{text} " for text in header] for header in (names, units)] + sum(groups.values(), [])
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    total = sum(widths) + len(widths) - 1
    lines = [
        table.title,
        *filter(None, [_chain(table)]),
        "",
        *(_text_line(row, widths) for row in everything[:2]),
    ]
    for heading, rows in groups.items():
        lines += [f"-- {heading} ".ljust(total, "-"), *(_text_line(row, widths) for row in rows)]
    lines.append("-" * total)
    if _ranked(table):
        lines.append("* best, + second best, = tied for best: not told apart")
    for note in table.notes:
        mark = f"[{note.letter}] " if note.letter else "- "
        lines += textwrap.wrap(mark + note.text, total, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def _text(cell: Cell) -> str:
    notes = f" [{cell.notes}]" if cell.notes else ""
    return (cell.short or cell.text) + notes + (" ", "*", "+", "=")[cell.rank]


def _text_line(row: list[str], widths: list[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return " ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]).rstrip()


_LEGEND = r"\textbf{Best} and \underline{second best} of each column; = tied for best."


def to_latex(table: Table, label: str) -> str:
    """Format a `table*` for documents that load booktabs and graphicx; best bold, second best underlined."""
    columns = len(table.header) + 1
    lines = [
        *([f"% {_chain(table)}"] if table.chain else []),
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_escape(table.title)}. {_LEGEND}}}",
        rf"\label{{{label}}}",
        r"\smallskip",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        r"\toprule",
        " & ".join(["", *(_escape(name) for name, _ in table.header)]) + r" \\",
        " & ".join(["", *(_escape(unit) for _, unit in table.header)]) + r" \\",
    ]
    for heading, rows in table.groups.items():
        lines += [r"\midrule", rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{_escape(heading)}}}}} \\"]
        lines += [
            " & ".join([_latex(Cell(row.name, notes=row.notes)), *map(_latex, row.cells)]) + r" \\"
            for row in rows
        ]
    lines += [
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip",
        r"\begin{minipage}{\textwidth}\scriptsize",
    ]
    for note in table.notes:
        mark = rf"\textsuperscript{{{note.letter}}} " if note.letter else ""
        lines.append(rf"{mark}{_escape(note.text)}\par")
    return "\n".join([*lines, r"\end{minipage}", r"\end{table*}"]) + "\n"


def _latex(cell: Cell) -> str:
    style = ("{}", r"\textbf{{{}}}", r"\underline{{{}}}", "{} =")[cell.rank]
    text = style.format(_escape(cell.short or cell.text))
    return text + (rf"\textsuperscript{{{cell.notes}}}" if cell.notes else "")


_LATEX = str.maketrans(
    {symbol: f"\\{symbol}" for symbol in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "–": "--", "−": "$-$", "≈": r"$\approx$", "×": r"$\times$", "<": "$<$", ">": "$>$"}
)


def _escape(text: str) -> str:
    return text.translate(_LATEX)
