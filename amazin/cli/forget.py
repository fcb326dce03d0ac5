"""`amazin forget`: removes nodes that never come back from the roster."""

from __future__ import annotations

from collections.abc import Callable

import click

from amazin.cli.common import MistakeError, examples, new_console, read_settings
from amazin.cli.nodes import known_nodes, log_to
from amazin.errors import RepairError, RosterError
from amazin.membership.roster import Roster
from amazin.membership.snapshot import Snapshot
from amazin.membership.transitions import forget as forget_nodes
from amazin.status.observer import look


@click.command(epilog=examples("amazin forget node-3"))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--force", is_flag=True, help="Even if a node answers.")
def forget(names: tuple[str, ...], yes: bool, force: bool) -> None:
    """Give up nodes that never come back, with everything they hold.

    To take away a node that still works, give it the weight 0 instead and run
    `amazin repair`, which empties it.
    """
    settings = read_settings()
    log_to(new_console(), settings)
    given_up = frozenset(names)
    with known_nodes(settings) as membership:
        snapshot = look(membership)
        if snapshot.roster is None:
            raise RepairError(snapshot.reason)
        without(given_up)(snapshot.roster)
        if not force:
            refuse_alive(snapshot, given_up)
        click.echo(consequences(snapshot.roster, given_up), err=True)
        if not yes:
            click.confirm("Give up for good?", abort=True, err=True)
        if not membership.change(without(given_up)):
            raise RepairError("The nodes can't record it now; try again in a moment")
    click.echo(f"Forgotten: {enumerated(given_up)}. `amazin repair` finishes it.")


def without(names: frozenset[str]) -> Callable[[Roster], Roster]:
    """Return the change of the roster that gives nodes up.

    The change raises MistakeError if they can't be given up.
    """

    def change(roster: Roster) -> Roster:
        try:
            return forget_nodes(roster, names)
        except RosterError as exc:
            raise MistakeError(
                f"{enumerated(names)} can't be forgotten: {exc}"
            ) from exc

    return change


def refuse_alive(snapshot: Snapshot, names: frozenset[str]) -> None:
    """Check that these nodes are down or lost their disks. Raises: MistakeError."""
    alive = names - snapshot.view.unreachable - snapshot.lost
    if alive:
        raise MistakeError(
            f"There, and with its disk: {enumerated(alive)}. Give it the weight 0 and "
            "run `amazin repair`, which empties it; or add --force"
        )


def consequences(roster: Roster, names: frozenset[str]) -> str:
    """Return the consequences of giving these nodes up, to be confirmed."""
    replicas = min(nodes.replicas for nodes in roster.sets)
    gone = (
        "objects that have no copy elsewhere are lost for good"
        if len(names | set(roster.forgotten)) >= replicas
        else f"each object has {replicas} copies, so other nodes have it, if they are "
        "there and well"
    )
    it, back = ("they hold", "they come back")
    if len(names) == 1:
        it, back = ("it holds", "it comes back")
    return (
        f"{enumerated(names)} will be given up: {gone}. What {it} is ignored, "
        f"even if {back}."
    )


def enumerated(names: frozenset[str]) -> str:
    """Return sorted names with commas between them."""
    return ", ".join(sorted(names))
