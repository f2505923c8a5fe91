"""The command line as cyclopts sees it: a command for each class of settings, an option for each of its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from cyclopts import App, Group, Parameter, Token
from cyclopts.exceptions import CoercionError, CycloptsError, MissingArgumentError, UnusedCliTokensError

from genopred.errors import GenopredError, did_you_mean, shortened
from genopred.settings import WORKFLOWS, command_name, declared
from genopred.settings.declare import Declared, as_text
from genopred.settings.parts import RUN, Command

_ABOUT = """Predict gene expression from genotype, and say honestly how well.

`genopred demo` shows the main job on real people in a few minutes; `genopred COMMAND --help` says more.
"""

#: cyclopts 4, the last one for Python 3.10, knows no metavar.
_KNOWN = inspect.signature(Parameter).parameters


class UsageError(GenopredError):
    """The command line itself cannot be understood."""


def commands() -> dict[str, type[Command]]:
    """Subcommands and their settings, in the order of `genopred --help`.

    >>> list(commands())[:2]
    ['demo', 'stack']
    """
    return {command_name(workflow): workflow for workflow in WORKFLOWS}


def parse(words: Sequence[str], command_line: str) -> tuple[str, Command] | None:
    """What the words after the program's name ask for; None where it was help, which is then on stdout.

    `command_line` is the whole, as it can be pasted again.

    Raises
    ------
    GenopredError
        If the words make no command, or no settings.
    """
    known = commands()
    chosen = next((word for word in words if not word.startswith("-")), "")
    if chosen and chosen not in known:
        raise UsageError(
            f"there is no command {shortened(chosen)!r}.{did_you_mean(chosen.replace('_', '-'), known)} The commands "
            f"are: {', '.join(known)}. See --help."
        )
    if words and words[0].startswith("-") and words[0] not in ("--help", "-h"):
        raise UsageError(f"{shortened(words[0])}: options follow the command: genopred stack --quiet. See --help.")
    workflow = known.get(chosen)
    if workflow is not None:
        _check_options(words, workflow)

    def take(*arguments: str, **given: Any) -> Command:
        assert workflow is not None  # noqa: S101 - cyclopts calls the command that was chosen
        values: dict[str, Any] = {"command": command_line, **_arguments(workflow, arguments), **given}
        try:
            return workflow(**values)
        except GenopredError as wrong:
            raise UsageError(str(wrong)) from None

    app = App(
        name="genopred", help=_ABOUT, help_format="plaintext", help_flags=("--help", "-h"), version_flags=(),
        print_error=False, exit_on_error=False, result_action="return_value",
    )  # fmt: skip
    if workflow is not None:
        take.__signature__ = inspect.Signature(_parameters(workflow))  # type: ignore[attr-defined]
    for i, (name, other) in enumerate(known.items()):
        command: Callable[..., Any] = take if name == chosen else lambda: None
        app.command(command, name=name, help=_help(other, whole=name == chosen), sort_key=i)
    try:
        asked = app(list(words))
    except CycloptsError as wrong:
        raise UsageError(f"{_line(wrong, words)} See --help.") from None
    return None if asked is None else (chosen, asked)


def _arguments(workflow: type[Command], words: Sequence[str]) -> dict[str, Any]:
    """The words after the command, by the fields that they are: one each, or all that there are."""
    fields = [field for field in declared(workflow).values() if field.option.argument]
    if len(fields) == 1 and fields[0].many:
        return {fields[0].name: tuple(words)}
    return dict(zip((field.name for field in fields), words))


def _check_options(words: Sequence[str], workflow: type[Command]) -> None:
    """Name an unknown option first, whatever else is missing because of it."""
    fields = [f for f in declared(workflow).values() if not (f.option.argument or f.option.hidden)]
    known = [*(field.flag for field in fields), *(field.option.off for field in fields if field.option.off)]
    given = (word.partition("=")[0] for word in words)
    unknown = [word for word in given if word.startswith("--") and word not in (*known, "--", "--help")]
    if unknown and "--help" not in words:
        raise UsageError(f"there is no option {shortened(unknown[0])}.{did_you_mean(unknown[0], known)} See --help.")


def _help(workflow: type[Command], whole: bool) -> str:
    """What a command does, each paragraph on one line for the terminal to wrap."""
    paragraphs = inspect.cleandoc(workflow.__doc__ or "").split("\n\nAttributes\n")[0].split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs[: None if whole else 1])


def _parameters(workflow: type[Command]) -> list[inspect.Parameter]:
    """The options of a command: what every run has comes last."""
    shown = [field for field in declared(workflow).values() if not field.option.hidden]
    panels = dict.fromkeys(field.panel for field in sorted(shown, key=lambda f: f.panel == RUN))
    groups = {panel: Group(panel, sort_key=i) for i, panel in enumerate(panels)}
    found = []
    for field in sorted(shown, key=lambda f: not f.option.argument):
        spelt = {
            "name": field.flag,
            "help": field.help,
            "group": groups[field.panel],
            "show_default": _default(field),
            "required": field.required,
            "negative": field.option.off or "",
            # the last counts, so that a script's options can be overridden
            "allow_repeating": True,
        }
        several = field.option.argument and field.many
        if several:
            spelt |= {"consume_multiple": True, "required": False}
        elif not field.switch:
            spelt |= {"metavar": _metavar(field), "converter": _all if field.option.each else _last, "n_tokens": 1}
        if field.option.argument:
            spelt = {key: value for key, value in spelt.items() if key not in ("name", "metavar")}
        kind: Any = inspect.Parameter.POSITIONAL_ONLY if field.option.argument else inspect.Parameter.KEYWORD_ONLY
        default = inspect.Parameter.empty if field.required else field.default
        hint = list[str] if field.option.each else field.hint if field.choices or field.switch else str
        if several:
            kind, default, hint = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.empty, str
        hint = Annotated[hint, Parameter(**{key: value for key, value in spelt.items() if key in _KNOWN})]
        found.append(inspect.Parameter(field.name, kind, default=default, annotation=hint))
    return found


def _metavar(field: Declared) -> str:
    if field.option.metavar:
        return field.option.metavar
    if field.choices:
        return "|".join(field.choices) if len("|".join(field.choices)) < 30 else "WHICH"
    return "N" if field.number else field.name.upper()


def _default(field: Declared) -> Any:
    """What the help says that it is by default; nothing of switches."""
    value = field.default
    if field.required or field.switch or value in (None, (), ""):
        return False
    if isinstance(value, (int, float)):
        return lambda _: f"{value:,.12g}"
    return lambda _: as_text(value)


def _last(_: Any, tokens: Sequence[Token]) -> str:
    return tokens[-1].value


def _all(_: Any, tokens: Sequence[Token]) -> list[str]:
    return [token.value for token in tokens]


def _line(wrong: CycloptsError, words: Sequence[str]) -> str:
    """What is wrong with the words, in the style of the house."""
    said = " ".join(str(wrong).split())
    token = getattr(wrong, "token", None)
    flag = (token.keyword if token is not None else None) or ""
    if isinstance(wrong, MissingArgumentError) and wrong.argument is not None:
        flag = next((name for name in wrong.argument.names if name.startswith("--")), "")
        if flag in words:
            return f"{flag} needs a value."
        return f"{flag or wrong.argument.field_info.name.upper()} is missing: {wrong.argument.parameter.help}"
    if isinstance(wrong, UnusedCliTokensError):
        shown = ", ".join(repr(shortened(word)) for word in (wrong.unused_tokens or [])[:3])
        return f"unexpected {shown}: options start with --, and their values follow them."
    if isinstance(wrong, CoercionError) and flag:
        return f"{flag} is a switch; give no value with it."
    return said if said.endswith(".") else f"{said}."
