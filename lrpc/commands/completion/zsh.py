"""The script for zsh."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lrpc.commands.completion.words import CommandWords, Option

_HEAD = """\
#compdef lrpc
# Completion of lrpc in zsh. Made by `lrpc completion zsh`; make it anew after an upgrade.

"""
_TAIL = """\
if [[ ${funcstack[1]-} == _lrpc ]]; then
    _lrpc "$@"
else
    compdef _lrpc lrpc
fi
"""


def script(top: CommandWords, commands: Sequence[CommandWords]) -> str:
    """The script that completes these commands."""
    lines = [_HEAD, "_lrpc() {\n    local curcontext=$curcontext state line\n"]
    lines += ["    local -a commands=(\n"]
    lines += [f"        {_quoted(f'{one.name}:{one.help}')}\n" for one in commands]
    lines += ["    )\n", "    _arguments -C \\\n", *_specs(top)]
    lines += ["        '1:command:->command' '*::argument:->argument'\n", "    case $state in\n"]
    lines += ["    command) _describe -t commands 'lrpc command' commands ;;\n"]
    lines += ["    argument)\n", "        case $line[1] in\n"]
    for command in commands:
        lines += [f"        {command.name})\n", "            _arguments -s \\\n"]
        lines += (f"        {line}" for line in _specs(command))
        lines += [f"            {_rest(command)}\n", "            ;;\n"]
    lines += ["        esac\n", "        ;;\n", "    esac\n", "}\n\n", _TAIL]
    return "".join(lines)


def _specs(command: CommandWords) -> Iterable[str]:
    """An option a line, as `_arguments` reads it."""
    for option in command.options:
        names = option.names
        once = f"({' '.join(names)})" if len(names) > 1 and not option.repeatable else ""
        star = "*" if option.repeatable else ""
        told = f"[{_plain(option.help, '[]:')}]{_value(option)}"
        for name in names:
            yield f"        {_quoted(f'{once}{star}{name}{told}')} \\\n"


def _value(option: Option) -> str:
    if not option.most:
        return ""
    begins = ":*-*:" if option.most < 0 else "::" if not option.least else ":"
    return f"{begins}{_plain(option.metavar, ':[]')}:{_action(option.values, option.files)}" * (
        option.most if option.most > 1 else 1
    )


def _rest(command: CommandWords) -> str:
    if not command.takes:
        return "''"
    return _quoted(f"*:argument:{_action(command.values, command.files)}")


def _action(values: Sequence[str], files: bool) -> str:
    """What `_arguments` offers: words, files, or both, or nothing that is known."""
    words = " ".join(_plain(word, ":()\\ ") for word in values)
    if values and files:
        return f'_alternative "words:word:({words})" "files:file:_files"'
    return f"({words})" if values else "_files" if files else " "


def _plain(text: str, special: str) -> str:
    """`text` with backslashes before what zsh would read."""
    return "".join(f"\\{c}" if c in special else c for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
