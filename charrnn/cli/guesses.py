"""Hints for wrong guesses: misspelled commands, options and files, a checkpoint given as a text."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable

import click

from charrnn.api.lookup import SIMILAR, is_bare, is_checkpoint
from charrnn.config.parsing import nearest
from charrnn.config.synonyms import KINDS_OF_MODEL
from charrnn.errors import UsageError

# What other programs call commands and options. A name that may mean two options has both.
COMMANDS = {
    "build": "train", "continue": "train", "fit": "train", "learn": "train", "resume": "train",
    "complete": "sample", "gen": "sample", "generate": "sample", "infer": "sample",
    "predict": "sample", "write": "sample",
    "bits": "eval", "evaluate": "eval", "perplexity": "eval", "score": "eval", "test": "eval",
    "validate": "eval",
    "html": "report", "plot": "report", "visualize": "report",
    "describe": "info", "inspect": "info", "ls": "info", "show": "info",
    "config": "presets", "configs": "presets", "preset": "presets", "settings": "presets",
    "version": "--version",
}
OPTIONS = {
    "ckpt": "checkpoint", "load": "checkpoint", "weights": "checkpoint",
    "file": "out", "save": "out",
    "max_length": "length", "max_new_tokens": "length", "max_tokens": "length", "n": "length count",
    "num_chars": "length", "size": "length", "tokens": "length",
    "batch": "count", "num": "count", "num_samples": "count", "samples": "count",
    "init": "prime", "input": "prime prime-file", "prefix": "prime", "prompt": "prime",
    "seed_text": "prime", "start": "prime", "start_text": "prime", "text": "prime",
    "prompt_file": "prime-file",
    "t": "temperature", "k": "top-k", "nucleus": "top-p", "p": "prime top-p",
    "eos": "stop", "until": "stop",
    "by_line": "per-line", "lines": "per-line", "heatmap": "surprisal", "show": "surprisal",
    "ngram": "baselines", "ngrams": "baselines", "train": "train-text",
}
RESUMES = ("continue", "load_from", "restart", "resume", "resume_from")
DEVICES = ("cpu", "cuda", "device", "gpu", "gpu_id", "gpus")
NARROW = 66  # up to this width, the help has more room for its second column


class Formatter(click.HelpFormatter):
    """The help; on a narrow terminal, long options have lines of their own."""

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        super().write_dl(rows, col_max if self.width > NARROW else 14, col_spacing)


class Context(click.Context):
    formatter_class = Formatter


class Command(click.Command):
    """A command that answers an unknown option with the one that was probably meant."""

    context_class = Context

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name, root = error.option_name, ctx.find_root()
            if root is not ctx and name in names(root.command):
                message = f"No such option: {name}; it belongs before the command: charrnn {name} "
                raise click.UsageError(message + str(ctx.info_name), ctx) from None
            raise click.UsageError(unknown_option(name, given, self), ctx) from None
        except click.BadOptionUsage as error:
            error.ctx = error.ctx or ctx  # or the message would name no command
            raise
        except click.MissingParameter as error:
            if error.param is None or not getattr(error.param.type, "allow_dash", False):
                raise
            message = error.format_message().removesuffix(".")
            raise click.UsageError(f"{message}: name a text, or - for standard input",
                                   ctx) from None


class Group(click.Group):
    """Commands, listed as they were added; an unknown one is answered with the nearest."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            owners = [key for key, command in self.commands.items()
                      if any(name in param.opts for param in command.params)]
            advice = nearest(name, names(self))
            if owners:
                owner = next((key for key in owners if key in given), owners[0])
                advice = f"; it belongs after the command: charrnn {owner} {name}"
            raise click.UsageError(f"No such option: {name}{advice}", ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if not word.startswith("-") and self.get_command(ctx, word) is None:
            raise click.UsageError(unknown_command(word, self.commands), ctx)
        return super().resolve_command(ctx, args)


def unknown_command(word: str, known: Collection[str]) -> str:
    """The message for a word that is not a command: a misspelling, a synonym, or a file."""
    meant = COMMANDS.get(word.lower(), word.lower())
    if meant in known or meant.startswith("-"):
        return f"No such command: {word}; did you mean charrnn {meant}?"
    if os.path.exists(word) or "." in word:
        command = "sample" if word.endswith(".npz") else "train"
        return f"No such command: {word}; did you mean charrnn {command} {shlex.quote(word)}?"
    return f"No such command: {word}{nearest(word, known)}"


def unknown_option(name: str, args: Iterable[str], command: click.Command) -> str:
    """The message for an option that ``command`` does not have.

    click reads ``-lr`` as ``-l``: what was typed is looked up in ``args``.
    """
    if not name.startswith("--"):
        typed = [arg.partition("=")[0] for arg in args if arg.startswith(name)]
        name = next((word for word in typed if len(word) > 2), name)
    word, known = name.lstrip("-").replace("-", "_").lower(), names(command)
    if word in KINDS_OF_MODEL and "--hidden-size" in known:
        out = "; -o names the checkpoint" if word == "model" else ""
        return (f"No such option: {name}; --cell chooses rnn, gru or lstm, and --hidden-size and "
                f"--layers set the size{out}")
    if word in DEVICES:
        return f"No such option: {name}; charrnn always runs on the CPU"
    if word in RESUMES and "--hidden-size" in known:
        return f"No such option: {name}; to resume a run, repeat the command that started it"
    meant = [f"--{each}" for each in OPTIONS.get(word, "").split() if f"--{each}" in known]
    begun = [option for option in known if option.startswith(f"--{word.replace('_', '-')}")]
    if meant or len(begun) == 1:
        return f"No such option: {name}; did you mean {' or '.join(meant or begun)}?"
    if "--out" not in known and word in ("o", "out", "output", "file", "save"):
        return f"No such option: {name}; results go to standard output: add > FILE to save them"
    return f"No such option: {name}{nearest(f'--{word}', known)}"


def names(command: click.Command) -> list[str]:
    """The long options of a command, and --help."""
    options = [name for param in command.params if isinstance(param, click.Option)
               for name in (*param.opts, *param.secondary_opts)]
    return [name for name in (*options, "--help") if name.startswith("--")]


def check_texts(texts: Iterable[str | None], advice: str) -> None:
    """Raise UsageError for a text that is a checkpoint, or is missing while a similar file exists.

    ``advice`` is what to do with a checkpoint; FILE in it becomes its name. Without advice,
    checkpoints are accepted as texts. Other errors are reported where the text is read.
    """
    for path in texts:
        if path in (None, "", "-"):
            continue
        if advice and not os.path.lexists(path) and path.endswith(".npz") and is_bare(path):
            inside = os.path.join("checkpoints", path)
            path = inside if is_checkpoint(inside) else path
        if not os.path.lexists(path) and (similar := similar_file(path)):
            raise UsageError(f"{path}: no such file; did you mean {shlex.quote(similar)}?")
        if advice and path.endswith(".npz") and is_checkpoint(path):
            shown = advice.replace("FILE", shlex.quote(path))
            raise UsageError(f"{path} is a checkpoint, not a text: {shown}")


def similar_file(path: str) -> str:
    """A file in the same folder with an ending that ``path`` lacks, or a similar name; or ""."""
    import difflib  # needed only for a missing file

    folder, name = os.path.split(path)
    try:
        names = sorted(each for each in os.listdir(folder or ".")
                       if not each.startswith(".") and not each.endswith(".npz"))
    except (OSError, ValueError):
        return ""
    close = [each for each in names if each.startswith(f"{name}.")]
    if not close:  # an equal ending does not make names similar
        stems = {os.path.splitext(each)[0]: each for each in reversed(names[:10_000])}
        stem = os.path.splitext(name)[0]
        close = [stems[each] for each in difflib.get_close_matches(stem, stems, 1, SIMILAR)]
    return os.path.join(folder, close[0]) if close else ""


def backslash_hint(option: str, text: str) -> str:
    """The hint for ``\\n`` or ``\\t`` typed as two characters; empty if there are none."""
    for typed, name in (("\\n", "a newline"), ("\\t", "a tab")):
        if typed in text:
            return (f"{option} contains a backslash followed by {typed[1]}; for {name}, write "
                    f"{option} $'...{typed}...' in bash or zsh")
    return ""
