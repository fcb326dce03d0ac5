"""The measured figures as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.cells import CELLS, Cell
from bench.stats import markdown, over_rounds
from bench.targets import find_targets

MIB, MB = 1024 * 1024, 1_000_000
NOTE = """\
nginx, HAProxy and `node`, which is one MinIO server asked directly, pass unsigned
requests for a public bucket and check nothing; a gateway signs, places, checks what
came, and logs each request. nginx and HAProxy write their access logs to files, too;
the node logs nothing.
`gunicorn r=2` has three nodes of its own."""
COSTS = ("requests/s", "p50, ms", "p99, ms", "CPU, us: itself + nodes", "errors")
CROWD = ("there", "downloads")
Rounds = Sequence[Mapping[str, Any]]
Show = Callable[[Rounds, Cell], str]


def report(result: Mapping[str, Any]) -> str:
    """Return everything that was measured."""
    parts = [listed(result["machine"]), listed(result.get("versions", {}))]
    if left_out := result.get("left_out"):
        parts.append(f"Left out: {listed(left_out)}")
    if targets := find_targets(result):
        head = ("work", "target", "measured", "")
        parts += ["### Targets", markdown(head, [target.row for target in targets])]
    if "main" in result:
        parts += main_tables(result["main"])
    for name, table in TABLES.items():
        if result.get(name):
            parts += table(result[name])
    return "\n\n".join(filter(None, parts)) + "\n"


def listed(values: Mapping[str, object]) -> str:
    """Return names and values in a line."""
    return ", ".join(f"{name} {show(value)}" for name, value in values.items())


def has_errors(found: object) -> bool:
    """Whether any load of a result had an error."""
    if isinstance(found, Mapping):
        return bool(found.get("errors")) or any(map(has_errors, found.values()))
    return isinstance(found, list) and any(map(has_errors, found))


def show(value: object) -> str:
    """Return a value as text, numbers short."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def number(values: Sequence[float], digits: int = 0) -> str:
    """Return the median of the rounds, with the least and the greatest."""
    found = over_rounds(values)
    middle, least, most = (
        f"{found[name]:,.{digits}f}" for name in ("median", "min", "max")
    )
    return f"{middle} ({least}-{most})"


def median(rounds: Rounds, figure: str, scale: float) -> float:
    """Return the median of a figure."""
    return scale * over_rounds([one[figure] for one in rounds])["median"]


def rate(rounds: Rounds, cell: Cell) -> str:
    """Return requests/s, or MB/s of large objects."""
    scale = cell.size / MB if cell.is_large else 1
    return number([scale * one["rate"] for one in rounds])


def p50(rounds: Rounds, cell: Cell) -> str:
    """Return the time that half of the answers don't exceed, in ms."""
    return number([1000 * one["p50"] for one in rounds], 2)


def p99(rounds: Rounds, cell: Cell) -> str:
    """Return the time that 99 of 100 answers don't exceed, in ms."""
    return number([1000 * one["p99"] for one in rounds], 2)


def cpu(rounds: Rounds, cell: Cell) -> str:
    """Return CPU time of itself and of the nodes: us a request, or us a MB."""
    scale = 1e6 / (cell.size / MB if cell.is_large else 1)
    own = number([scale * one["cpu"] for one in rounds])
    return f"{own} + {median(rounds, 'nodes_cpu', scale):.0f}"


def main_tables(cells: Mapping[str, Any]) -> list[str]:
    """Return the tables of the comparison."""
    small = [c for c in CELLS if c.name in cells and not c.is_large]
    large = [c for c in CELLS if c.name in cells and c.is_large]
    both = small + large
    wanted: list[tuple[str, list[Cell], Show]] = [
        ("Requests/s", small, rate),
        ("MB/s, 256 MiB", large, rate),
        ("p50, ms", both, p50),
        ("p99, ms", small, p99),
        ("CPU, us a request: itself + the nodes", small, cpu),
        ("CPU, us a MB: itself + the nodes", large, cpu),
    ]
    parts = ["### Compared", NOTE]
    for title, rows, cell_text in wanted:
        if rows:
            parts += [f"{title}:", table_of(cells, rows, cell_text)]
    return [*parts, client_line(cells, both), error_line(cells)]


def table_of(cells: Mapping[str, Any], rows: Sequence[Cell], text: Show) -> str:
    """Return a table with a column for each contender."""
    names = list(cells[rows[0].name])
    body = [
        [cell.name, *(text(cells[cell.name][name], cell) for name in names)]
        for cell in rows
    ]
    return markdown(["", *names], body)


def client_line(cells: Mapping[str, Any], rows: Sequence[Cell]) -> str:
    """Return what the client itself cost, which is part of every rate."""
    parts = []
    for is_large, unit in ((False, "us a request"), (True, "us a MB")):
        used = [
            1e6 * one["client_cpu"] / (cell.size / MB if is_large else 1)
            for cell in rows
            if cell.is_large == is_large and cell.connections > 1
            for rounds in cells[cell.name].values()
            for one in rounds
        ]
        if used:
            parts.append(f"{number(used)} {unit}")
    return f"CPU of the client, the same for all: {'; '.join(parts)}."


def error_line(cells: Mapping[str, Any]) -> str:
    """Return all errors: by contender and cell."""
    lines = [
        f"{name}, {cell}: {total}"
        for cell, columns in cells.items()
        for name, rounds in columns.items()
        if (total := add_errors(rounds))
    ]
    return "Errors: " + ("; ".join(lines) if lines else "none.")


def add_errors(rounds: Rounds) -> dict[str, int]:
    """Return how many errors of each kind there were."""
    total: dict[str, int] = {}
    for one in rounds:
        for kind, count in one["errors"].items():
            total[kind] = total.get(kind, 0) + count
    return total


def slow_tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what slow clients do to others."""
    yield "### Slow clients"
    crowded = ("slow ones there", "their downloads begun", "CPUs for them alone")
    rows = []
    for server, states in found.items():
        for state in ("without", "with"):
            rounds = states[state]
            crowd = crowd_cells(states["slow"]) if state == "with" else ["", "", ""]
            rows.append((server, state, *costs(rounds), *crowd))
    yield markdown(("", "", *COSTS, *crowded), rows)


def crowd_cells(rounds: Rounds) -> list[str]:
    """Return what is known of the slow clients."""
    there, begun = (number([one[name] for one in rounds]) for name in CROWD)
    return [there, begun, number([one["cpus"] for one in rounds], 2)]


def costs(rounds: Rounds) -> list[str]:
    """Return the cells below `COSTS`, for small objects."""
    found = [text(rounds, CELLS[0]) for text in (rate, p50, p99, cpu)]
    return [*found, str(add_errors(rounds) or "none")]


def nodes_tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what many nodes cost."""
    yield "### 100 nodes instead of 3 (nodes of almost no cost)"
    yield markdown(("", "nodes", *COSTS), cost_rows(found))


def memory_tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield peaks of memory."""
    yield "### Memory, 16 streams: peak over idle, MiB, of the largest process"
    titles = [title for title in next(iter(found.values())) if title != "idle"]
    rows = []
    for server, loads in found.items():
        peaks = ([one["peak"] / MIB for one in loads[title]] for title in titles)
        cells = [number(values, 1) for values in peaks]
        errors = add_errors([one for title in titles for one in loads[title]])
        idle = number([size / MIB for size in loads["idle"]])
        rows.append((server, idle, *cells, str(errors or "none")))
    yield markdown(("", "idle", *titles, "errors"), rows)


def two_tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a second gateway brings."""
    yield "### One gateway and two, behind HAProxy (whose CPU time is in theirs)"
    yield markdown(("", "", *COSTS), cost_rows(found))


def cost_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for each cell and each of its contenders."""
    return [
        (cell, name, *costs(rounds))
        for cell, names in found.items()
        for name, rounds in names.items()
    ]


TABLES: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "slow": slow_tables,
    "nodes": nodes_tables,
    "memory": memory_tables,
    "two": two_tables,
}
