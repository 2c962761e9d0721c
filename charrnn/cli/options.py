"""Settings and text arguments as click options."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.console import say
from charrnn.cli.guesses import Command
from charrnn.config.parsing import (
    NUMBER,
    check_spelling,
    nearest,
    parse,
    quoted,
    range_in_words,
    whole_number,
)
from charrnn.config.settings import FIELDS, TYPES, Value, option_name
from charrnn.errors import UsageError
from charrnn.system.machine import use_one_blas_thread

if TYPE_CHECKING:
    from charrnn.api.loaded import Decoding
    from charrnn.api.loaded import LoadedModel as Model

    ParamType = click.ParamType[Value]
else:
    ParamType = click.ParamType  # not generic before click 8.2


class FileName(click.Path):
    """The name of a file or folder; an empty one, as from an unset variable, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


TEXTS = FileName(allow_dash=True)  # a missing file is reported where it is opened


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


def metavar(key: str) -> str:
    """What the help of all commands shows for the value of a setting."""
    if choices := FIELDS[key].metadata["choices"]:
        return f"[{'|'.join(choices)}]"
    return "NAME" if key == "encoding" else SettingType(key).name.upper()


def setting_options(command: click.Command) -> click.Command:
    """Give a command one option per setting."""
    for key, field in FIELDS.items():
        default = field.default
        kind, name, more = SettingType(key), option_name(key), field.metadata["help"]
        if TYPES[key] is bool:
            option = SettingOption([f"{name}/--no-{name[2:]}"], default=None, help=more)
        else:
            shown = field.metadata["rule"] or ("" if default is None else str(default))
            shown = shown and f"  [default: {shown}]"
            option = SettingOption([name], type=kind, help=more + shown,
                                   metavar=metavar(key))
        option.group = field.metadata["group"]
        command.params.append(option)
    return command


class GroupedCommand(Command):
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
    """Text from the command line, read as UTF-8 in every locale."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return os.fsencode(value).decode("utf-8", "surrogateescape")


class WholeNumber(click.ParamType):  # type: ignore[type-arg]
    """A whole number of at least ``low``, such as 1000, 1_000 or 1e3."""

    name = "integer"

    def __init__(self, low: int) -> None:
        self.low = low

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return whole_number(str(value), self.low)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Choice(click.Choice):  # type: ignore[type-arg]
    """One of a few words; another one gets the nearest as a hint."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            hint = nearest(value.lower(), self.choices)
            self.fail(f"{quoted(value)} is not one of {', '.join(self.choices)}{hint}", param, ctx)
        return value


class Number(click.ParamType):  # type: ignore[type-arg]
    """A finite number in a range; ``above`` itself is excluded."""

    name = "number"

    def __init__(
        self, low: float = -math.inf, high: float = math.inf, above: float = -math.inf
    ) -> None:
        self.low, self.high, self.above = low, high, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        try:
            check_spelling(text, NUMBER, "number")
        except UsageError as error:
            self.fail(str(error), param, ctx)
        number = float(text)
        if not math.isfinite(number):
            self.fail(f"{text:.40} is not a finite number", param, ctx)
        if not (self.low <= number <= self.high and self.above < number):
            allowed = range_in_words(self.low, self.high, self.above)
            self.fail(f"{text:.40} is out of range: {allowed}", param, ctx)
        return number


def unknown_option(command: Any) -> Any:
    return click.option(
        "--unknown", type=Choice(["error", "skip"]), default="error", show_default=True,
        help="What to do with characters that the model does not know. If it was trained with "
        "--min-count, it reads them as U+FFFD.",
    )(command)


def encoding_option(texts: str) -> Callable[[Any], Any]:
    return click.option(
        "--encoding", type=SettingType("encoding"), metavar=metavar("encoding"),
        help=f"Encoding of {texts}.  [default: utf-8; for the training or validation text, as in "
        "training]",
    )


def errors_option(texts: str) -> Callable[[Any], Any]:
    return click.option(
        "--errors", type=SettingType("errors"), metavar=metavar("errors"),
        help=f"What to do with bytes of {texts} that cannot be decoded: report an error (strict), "
        "replace them with U+FFFD, or skip them.  [default: strict; for the training or "
        "validation text, as in training]",
    )


def choose_decoding(
    model: Model, paths: Sequence[str], encoding: str | None, errors: str | None,
    notes: list[str], beside: bool = False,
) -> Decoding:
    """How to decode a text: as the options state, else as in training, else as strict UTF-8.

    The options describe one text. A second text, read ``beside`` the first, is decoded as in
    training if the model was trained or validated on it, else as the options state. Anything
    unusual, such as an encoding other than in training, is added to ``notes``.
    """
    from charrnn.api.loaded import Decoding
    from charrnn.text.display import display_name, printable_name
    from charrnn.text.files import left_out_notes

    trained = model.decoding
    if model.vocabulary.level == "byte":
        if errors not in (None, "strict"):
            raise UsageError(f"--errors {errors} cannot be used with this model: it reads bytes, "
                             "which are not decoded")
        if encoding is not None:
            notes.append("note: --encoding has no effect: the model reads bytes, which are not "
                         "decoded")
    if beside:
        chosen = model.decoding_of(paths, Decoding(encoding or "utf-8", errors or "strict"))
    else:  # where an option decides, files need not be read to find the decoding of training
        found = model.decoding_of(paths, Decoding(trained.encoding if encoding else "utf-8",
                                                  trained.errors if errors else "strict"))
        chosen = Decoding(encoding or found.encoding, errors or found.errors)
    if encoding is None and chosen.encoding != trained.encoding:
        notes.append(f"note: {display_name(paths)} is read as UTF-8, but the model was trained on "
                     f"{printable_name(trained.encoding)} text; use --encoding to change that")
    notes += [f"note: {note}" for note in left_out_notes(paths)]
    return chosen


def quiet_option(command: Any) -> Any:
    return click.option(
        "-q", "--quiet", is_flag=True, help="Print no messages except errors.",
    )(command)


def notes(quiet: bool) -> Callable[[str], None]:
    """The function that prints messages other than errors; with --quiet it prints nothing."""
    return (lambda line: None) if quiet else say


def start_numpy() -> None:
    """Limit BLAS to one thread, which must be done before NumPy is first imported."""
    if "numpy" not in sys.modules:
        use_one_blas_thread()
