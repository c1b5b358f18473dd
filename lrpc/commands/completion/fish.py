"""The script for fish."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lrpc.commands.completion.words import CommandWords, Option

_HEAD = """\
# Completion of lrpc in fish. Made by `lrpc completion fish`; make it anew after an upgrade.

function __lrpc_in --description 'whether the command before the cursor is this one'
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case --log
                set -e words[1]
            case '-*'
            case '*'
                test "$words[1]" = "$argv[1]"
                return
        end
        set -e words[1]
    end
    test -z "$argv[1]"
end

complete -c lrpc -f
"""


def script(top: CommandWords, commands: Sequence[CommandWords]) -> str:
    """The script that completes these commands."""
    lines = [_HEAD]
    for one in commands:
        lines.append(f"complete -c lrpc -n '__lrpc_in \"\"' -a {one.name} -d {_quoted(one.help)}\n")
    for command in (top, *commands):
        lines.append("\n")
        lines += _command(command)
    return "".join(lines)


def _command(command: CommandWords) -> Iterable[str]:
    begin = f"complete -c lrpc -n {_quoted(f'__lrpc_in {command.name or chr(34) * 2}')}"
    for option in command.options:
        yield f"{begin} {' '.join((*map(_named, option.names), *_value(option)))}\n"
    if command.files:
        yield f"{begin} -F\n"
    if command.values:
        yield f"{begin} -a {_quoted(' '.join(command.values))}\n"


def _named(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


def _value(option: Option) -> Iterable[str]:
    if option.most:
        yield "-r" if option.least else ""
        yield "-F" if option.files else "-f"
    if option.values:
        yield f"-a {_quoted(' '.join(option.values))}"
    yield f"-d {_quoted(option.help)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
