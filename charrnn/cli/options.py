"""Settings and text arguments as click options."""

from __future__ import annotations

import math
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.config.parsing import parse
from charrnn.config.settings import FIELDS, TYPES, Value, option_name
from charrnn.errors import UsageError
from charrnn.system.machine import use_one_blas_thread

if TYPE_CHECKING:
    from charrnn.api import Decoding, Model

    ParamType = click.ParamType[Value]
else:
    ParamType = click.ParamType  # not generic before click 8.2

TEXTS = click.Path(allow_dash=True)  # that they exist is said where they are opened


class SettingType(ParamType):
    """A value that ``config.parsing`` parses, so that options and YAML mean the same."""

    def __init__(self, key: str) -> None:
        self.key = key
        kind = FIELDS[key].type
        self.choices = FIELDS[key].metadata["choices"]
        self.name = "text" if kind == "str" else "integer" if "int" in str(kind) else "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return parse(self.key, value)
        except UsageError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(c) for c in self.choices if c.startswith(incomplete)]


class SettingOption(click.Option):
    """An option that belongs to a group of the help."""

    group: str


def setting_options(command: click.Command) -> click.Command:
    """Give a command one option per setting."""
    for key, field in FIELDS.items():
        default = field.default
        kind, name, more = SettingType(key), option_name(key), field.metadata["help"]
        if TYPES[key] is bool:
            option = SettingOption([f"{name}/--no-{name[2:]}"], default=None, help=more)
        else:
            shown = "" if default is None else f"  [default: {default}]"
            option = SettingOption([name], type=kind, help=more + shown,
                                   metavar="|".join(kind.choices) or kind.name.upper())
        option.group = field.metadata["group"]
        command.params.append(option)
    return command


class GroupedCommand(click.Command):
    """A command whose help shows the options of each group together."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)


class Argument(click.ParamType):  # type: ignore[type-arg]
    """Text from the command line, read as UTF-8 whatever the locale says."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return os.fsencode(value).decode("utf-8", "surrogateescape")


class FiniteRange(click.FloatRange):
    """A finite number in a range; click's own range lets nan and infinity pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def checkpoint_option(command: Any) -> Any:
    return click.option(
        "-m", "--checkpoint", type=click.Path(path_type=Path), metavar="FILE",
        help="The model.  [default: $CHARRNN_CHECKPOINT, else the newest in checkpoints/]",
    )(command)


def unknown_option(command: Any) -> Any:
    return click.option(
        "--unknown", type=click.Choice(["error", "skip"]), default="error", show_default=True,
        help="What to do about characters the model has never seen; one that learned with "
        "--min-count reads them as U+FFFD.",
    )(command)


def encoding_option(command: Any) -> Any:
    return click.option(
        "--encoding", type=SettingType("encoding"), metavar="NAME",
        help="How the text is encoded.  [default: utf-8; as in training for a file that the "
        "model was trained or validated on]",
    )(command)


def errors_option(command: Any) -> Any:
    return click.option(
        "--errors", type=SettingType("errors"), metavar="[strict|replace|skip]",
        help="What to do about bytes that cannot be decoded: stop, put U+FFFD, or leave them out. "
        " [default: strict; as in training for a file that the model was trained or validated on]",
    )(command)


def choose_decoding(
    model: Model, paths: Sequence[str], encoding: str | None, errors: str | None,
    notes: list[str], beside: bool = False,
) -> Decoding:
    """How to read a text: as named, else as the model knows it, else as strict UTF-8.

    Of a text that is read ``beside`` the one that the options are about, what the model knows
    counts first. What a user may not expect, such as that a text is read otherwise than in
    training, unasked, is added to ``notes``.
    """
    from charrnn.api import Decoding
    from charrnn.text.display import display_name, printable_name
    from charrnn.text.files import left_out_notes

    trained = model.decoding
    if beside:
        chosen = model.decoding_of(paths, Decoding(encoding or "utf-8", errors or "strict"))
    else:  # what is named makes no difference, so that files are not read for it
        found = model.decoding_of(paths, Decoding(trained.encoding if encoding else "utf-8",
                                                  trained.errors if errors else "strict"))
        chosen = Decoding(encoding or found.encoding, errors or found.errors)
    if encoding is None and chosen.encoding != trained.encoding:
        notes.append(f"note: {display_name(paths)} is read as UTF-8, and the model was trained on "
                     f"{printable_name(trained.encoding)} text; --encoding names another")
    notes += [f"note: {note}" for note in left_out_notes(paths)]
    return chosen


def newest_checkpoint() -> Path:
    """The checkpoint meant when none is named."""
    named = os.environ.get("CHARRNN_CHECKPOINT")
    if named:
        return Path(named)
    found = []
    for path in Path("checkpoints").glob("*.npz"):
        with suppress(OSError):  # a link that leads nowhere
            about = path.stat()
            if stat.S_ISREG(about.st_mode):
                found.append((about.st_mtime_ns, path))
    if not found:
        raise UsageError("there is no checkpoint in checkpoints/: train one, or name it with -m")
    return max(found)[1]


def start_numpy() -> None:
    """What has to be settled before NumPy is imported for the first time."""
    if "numpy" not in sys.modules:
        use_one_blas_thread()
