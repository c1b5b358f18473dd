"""Modules outside the project that register rules of their own.

A plugin is code. One is imported where the user names it: in a config of theirs, on the command
line, or in a call. A manifest may come from anyone, so what it asks for is held against that.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from lrpc.errors import ProgramError, RuleError


def load_plugins(modules: Iterable[str]) -> None:
    """Import each module, once in a process; RuleError in one line where one cannot be."""
    for name in modules:
        try:
            importlib.import_module(name)
        except RuleError as error:
            raise RuleError(f"plugin {name}: {error}") from error
        except ImportError as error:
            raise RuleError(
                f"plugin {name}: cannot be imported ({error}); install it or add its folder to"
                " PYTHONPATH"
            ) from error
        except Exception as error:  # whatever a user's module raises
            raise RuleError(f"plugin {name}: raised {type(error).__name__}: {error}") from error


def plugins_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The plugins that a program was compiled with: its rules may be theirs."""
    return tuple(manifest.get("config", {}).get("LRPC", {}).get("PLUGINS", ()))


def load_allowed(manifest: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Import the plugins `allowed`. ProgramError where the manifest asks for others, unless this
    process has imported them already: a manifest by itself never makes code run."""
    load_plugins(allowed)
    asked = [name for name in plugins_of(manifest) if name not in allowed]
    if missing := [name for name in asked if name not in sys.modules]:
        options = " ".join(f"--plugin {name}" for name in missing)
        raise ProgramError(
            f"the manifest asks for plugins, which are code: {', '.join(missing)}; allow what you"
            f" trust with {options} (from Python: plugins={missing!r})"
        )
