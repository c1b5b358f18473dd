"""The script for bash, 3.2 and later."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from lrpc.commands.completion.words import CommandWords, Option

_HEAD = """\
# Completion of lrpc in bash. Made by `lrpc completion bash`; make it anew after an upgrade.

_lrpc_add() {  # each line that comes in is a candidate
    local word
    while IFS= read -r word; do COMPREPLY+=("$word"); done
}

_lrpc_words() { _lrpc_add < <(compgen -W "$1" -- "$cur"); }

_lrpc_files() { _lrpc_add < <(compgen -f -- "$cur"); }

_lrpc() {
    local cur=${COMP_WORDS[COMP_CWORD]} command= option= values=0 i word
    COMPREPLY=()
    [[ $cur == "=" ]] && cur=
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            =) ;;
            -*) option=$word values=0 ;;
            *)
                if [[ -z $command && ( -z $option || $option != --log || $values -gt 0 ) ]]; then
                    command=$word option= values=0
                else
                    values=$((values + 1))
                fi
                ;;
        esac
    done
    case "$command $option" in
"""
_TAIL = """\
    esac
}

complete -o filenames -F _lrpc lrpc
"""


def script(top: CommandWords, commands: Sequence[CommandWords]) -> str:
    """The script that completes these commands."""
    lines = [_HEAD]
    for command in (top, *commands):
        for option in command.options:
            if option.most:
                lines += _values(command.name, option)
    lines += ["    esac\n", '    case "$command" in\n']
    names = " ".join(one.name for one in commands)
    lines += _case(["''"], [*_dashed(top), f'        *) _lrpc_words "{names}" ;;\n'])
    for command in commands:
        lines += _case([command.name], [*_dashed(command), *_plain(command)])
    return "".join((*lines, _TAIL))


def _values(command: str, option: Option) -> Iterable[str]:
    """Where the cursor is at an option's value: its words, and no others unless it may be left."""
    patterns = "|".join(shlex.quote(f"{command} {name}") for name in option.names)
    within = f"(( values < {option.most} ))" if option.most > 0 else "true"
    if option.most < 0 or option.least < option.most:  # another option may come instead
        within = f"[[ $cur != -* ]] && {within}"
    offered = _offered(option.values, option.files) or ":"
    yield f"        {patterns}) if {within}; then {offered}; return; fi ;;\n"


def _case(patterns: Sequence[str], inner: Iterable[str]) -> Iterable[str]:
    yield f"    {'|'.join(patterns)})\n        case $cur in\n"
    yield from (f"    {line}" for line in inner)
    yield "        esac\n        ;;\n"


def _dashed(command: CommandWords) -> Iterable[str]:
    names = " ".join(name for option in command.options for name in option.names)
    yield f'        -*) _lrpc_words "{names}" ;;\n'


def _plain(command: CommandWords) -> Iterable[str]:
    yield f"        *) {_offered(command.values, command.files) or ':'} ;;\n"


def _offered(values: Sequence[str], files: bool) -> str:
    """The calls that offer words and files."""
    calls = [f"_lrpc_words {shlex.quote(' '.join(values))}"] if values else []
    return "; ".join(calls + ["_lrpc_files"] * files)
