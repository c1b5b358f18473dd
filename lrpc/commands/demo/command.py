"""The command `lrpc demo`."""

from __future__ import annotations

import argparse
import logging
import socket
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from lrpc.commands.demo import page
from lrpc.commands.demo.explorer import Explorer
from lrpc.commands.session.options import Options
from lrpc.commands.session.terminal import warn_random
from lrpc.errors import ProgramError
from lrpc.program.devices import device_of
from lrpc.program.loading import load_program
from lrpc.support.files import reason, shown
from lrpc.support.terminal import Terminal, say


def main(args: argparse.Namespace, console: Console) -> int:
    """Serve the page until a signal comes. Raises ProgramError where it cannot be served."""
    gr = page.gradio()
    port = free_port(args.host, args.port)
    options = Options(
        output=Path(),
        device=device_of(args.device),
        score=args.score,
        top=args.top,
        pad=args.pad,
    )
    program = load_program(args.program, options.device)
    explorer = Explorer(program, args.program, options, args.composite)
    warn_random(Terminal(stderr=True), [explorer.facts])
    made = page.blocks(gr, explorer, f"lrpc · {shown(args.program.resolve().name)}")
    serve(gr, made, args.host, port, args.browser)
    host = f"[{args.host}]" if ":" in args.host else args.host
    say(console, f"http://{host}:{port}  (Ctrl-C ends it)")
    try:
        threading.Event().wait()
    finally:
        made.close(verbose=False)
    return 0


def serve(gr: Any, made: Any, host: str, port: int, browser: bool = False) -> None:
    """Serve the page in threads of this process; nothing of it leaves the machine but to those who
    reach `host`."""
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    policy = import_module("starlette.middleware").Middleware(_Policy)
    made.queue(default_concurrency_limit=1)  # programs are called by one thread at a time
    made.launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=browser,
        quiet=True,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        prevent_thread_lock=True,
        theme=page.theme(gr),
        css=page.CSS,
        app_kwargs={"middleware": [policy]},
    )


class _Policy:
    """Middleware that forbids the browser to ask another host for anything."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", page.POLICY.encode())
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        await self.app(scope, receive, tell)


def free_port(host: str, port: int) -> int:
    """The port, or any that is free for 0. Raises ProgramError where it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        where = f"{host}:{port}"
        told = f"{where}: cannot be served ({reason(error)}); --port 0 takes one that is free"
        raise ProgramError(told) from error
