"""Modules outside the project that register rules of their own."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from lrpc.errors import RuleError


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
