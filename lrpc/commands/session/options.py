"""What a command asks of every image, and how it shows it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lrpc.commands.session.calls import Request
from lrpc.commands.session.targets import TargetSpec, parse_targets
from lrpc.commands.session.wanted import Wanted
from lrpc.errors import ProgramError
from lrpc.program.devices import device_of
from lrpc.support.files import check_folder, make_folder


@dataclass(frozen=True)
class Display:
    """Choices that change what is shown, never what is stored."""

    percentile: float = 99.5
    smooth: float = 0.0
    font: Path | None = None
    waterfall: bool = False
    format: str = "png"  # of panels and waterfalls
    width: float | None = None  # inches
    dpi: float | None = None

    @property
    def printed(self) -> bool:
        """Whether panels are figures for print, not pictures of pixels."""
        return self.format != "png" or self.width is not None or self.dpi is not None

    def record(self) -> dict[str, Any]:
        """What changes pictures."""
        own: dict[str, Any] = {} if self.font is None else {"font": str(self.font)}
        own |= {"waterfall": True} if self.waterfall else {}
        if self.printed:
            own |= {"format": self.format, "width": self.width, "dpi": self.dpi}
        return {"percentile": self.percentile, "smooth": self.smooth, **own}


@dataclass(frozen=True)
class Options:
    """Everything that `lrpc run` and `lrpc compare` are asked for, beside programs and images."""

    output: Path
    device: str = "cpu"
    targets: tuple[TargetSpec, ...] = (TargetSpec("class_logit"),)
    score: float = 0.5
    top: int = 5
    wanted: Wanted = field(default_factory=Wanted)
    batch_size: int = 1
    pad: bool = False  # what does not fill the input of a program of one size
    request: Request = field(default_factory=Request)
    display: Display = field(default_factory=Display)
    attention: str = ""  # modules whose attention is drawn, as a name or glob
    resume: bool = False  # leave out what has its record already
    debug: bool = False

    def record(self) -> dict[str, Any]:
        """What changes results or pictures, or says where they were made."""
        request = asdict(self.request) | {"read": list(self.request.read)}
        condition = {place: list(numbers) for place, numbers in request.pop("condition")}
        return {
            "targets": [str(spec) for spec in self.targets],
            "score": self.score,
            "top": self.top,
            "classes": list(self.wanted.classes),
            "points": [list(point) for point in self.wanted.points],
            **({"missed": True} if self.wanted.missed else {}),
            "batch_size": self.batch_size,
            "pad": self.pad,
            "device": self.device,
            "request": request | ({"condition": condition} if condition else {}),
            "display": self.display.record(),
            **({"attention": self.attention} if self.attention else {}),
            "torch": str(torch.__version__),
        }


def options_of(args: argparse.Namespace, request: Request) -> Options:
    """What `lrpc run` and `lrpc compare` were asked for. Raises TargetError and ProgramError."""
    return Options(
        output=args.output,
        device=device_of(args.device),
        targets=parse_targets(args.target),
        score=args.score,
        top=args.top,
        wanted=Wanted(tuple(args.classes), tuple(args.at), args.missed),
        batch_size=args.batch_size,
        pad=args.pad,
        request=request,
        display=Display(
            *(args.percentile, args.smooth, args.font, bool(getattr(args, "waterfall", False))),
            getattr(args, "format", None) or "png",
            getattr(args, "width", None),
            getattr(args, "dpi", None),
        ),
        attention=getattr(args, "attention", "") or "",
        resume=args.resume,
        debug=bool(getattr(args, "debug", False)),
    )


def make_output(path: Path, sources: Sequence[Path]) -> None:
    """Make the output folder; ProgramError where that is a folder that images come from."""
    check_output(path, sources)
    make_folder(path)


def check_output(path: Path, sources: Sequence[Path]) -> None:
    """ProgramError for a folder that images come from, and where none can be made."""
    if any(source.is_dir() and source.resolve() == path.resolve() for source in sources):
        raise ProgramError(f"{path}: the images are read from this folder; name another for -o")
    check_folder(path)
