"""``charrnn presets``: list the settings files that come with charrnn, or print one."""

from __future__ import annotations

import click

from charrnn.cli.console import fitted, write_text
from charrnn.cli.guesses import Command
from charrnn.cli.options import quiet_option
from charrnn.config.parsing import nearest, quoted
from charrnn.errors import UsageError
from charrnn.system import resources


@click.command("presets", cls=Command)
@click.argument("name", required=False)
@quiet_option
def presets(name: str | None, quiet: bool) -> None:
    """List the presets for charrnn train -c NAME, or print the preset NAME.

    A preset is a YAML file of settings. To change one, print it to a file and edit that:
    charrnn presets sprint > my.yaml, then charrnn train TEXT -c my.yaml.
    """
    found = resources.presets()
    if name is not None and name not in found:
        raise UsageError(f"{quoted(name)} is not a preset{nearest(name, found)}")
    if name is not None:
        write_text(found[name].read_text(encoding="utf-8"))
        return
    width = max(map(len, found), default=0)
    write_text(fitted("".join(f"{name:{width}}  {summary(path.read_text(encoding='utf-8'))}\n"
                              for name, path in found.items())))


def summary(text: str) -> str:
    """The first line of a preset, a comment that says what it is for."""
    return text.partition("\n")[0].removeprefix("# ")
