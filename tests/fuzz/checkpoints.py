"""Mutated checkpoints: every one loads, or is refused in one line, quickly and in little memory.

`python -m tests.fuzz.checkpoints --count 10000 --seed 0` prints how many of each kind of file were
loaded and refused, and every one that was neither; it exits with 1 where there was one.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import FrameType

import numpy as np
import safetensors.torch
import torch

from lrpc.errors import WeightsError
from lrpc.models.weights import load_weights

SECONDS = 10  # that one file may take
MEBIBYTES = 1024  # that one file may take
_BATCH = 250  # files in a process of their own
_LONG = (b"\xff" * 4, b"\xff" * 8, struct.pack("<Q", 20 << 30), struct.pack("<I", 1 << 28))
_OPERATIONS = b"(.0125aubdehlqrstjJKMNQRUX\x80\x81\x85\x86\x87\x88\x8a\x8c\x8e\x93\x94\x95\x96})]"

Edit = Callable[[random.Random, bytearray], None]


def samples() -> dict[str, bytes]:
    """Small whole checkpoints by suffix and form, as training code writes them."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(4, 5, generator=generator)
    state = {"a.weight": shared, "b.weight": shared, "c": shared.T, "n": torch.tensor([1, 2])}
    state["half"] = torch.randn(3, generator=generator).to(torch.bfloat16)
    optimiser = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}
    content = {"model": state, "ema_state": dict(state), "optimizer": optimiser, "iteration": 7}
    content["args"] = argparse.Namespace(lr=0.1, out=PurePosixPath("x"), seen=Counter("ab"))
    found = {}
    for name, zipped in (("zip.pth", True), ("legacy.pth", False)):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
        found[name] = stream.getvalue()
    arrays = {name: value.float().numpy() for name, value in state.items()}
    arrays["step"] = np.array(3)
    for protocol in (0, 2, 4, 5):
        whole = {"model": arrays, "__author__": "x", "best": np.float64(1)}
        whole["meta"] = [content["args"], argparse.Namespace]
        found[f"protocol{protocol}.pkl"] = pickle.dumps(whole, protocol)
    tensors = {
        name: value.clone().contiguous() for name, value in state.items() if name != "b.weight"
    }
    aliases = {"aliases": '{"b.weight":"a.weight"}'}
    found["whole.safetensors"] = safetensors.torch.save(tensors, aliases)
    return found


def _flip(draw: random.Random, data: bytearray) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(draw: random.Random, data: bytearray) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.choice((1, 2, 8, 100, len(data)))]


def _repeat(draw: random.Random, data: bytearray) -> None:
    start = draw.randrange(len(data))
    part = data[start : start + draw.randrange(1, 60)]
    data[start:start] = part * draw.choice((1, 2, 50))


def _operation(draw: random.Random, data: bytearray) -> None:
    data[draw.randrange(len(data))] = draw.choice(_OPERATIONS)


def _insert(draw: random.Random, data: bytearray) -> None:
    start = draw.randrange(len(data))
    data[start:start] = bytes(draw.choice(_OPERATIONS) for _ in range(draw.randrange(1, 5)))


def _length(draw: random.Random, data: bytearray) -> None:
    start, value = draw.randrange(len(data)), draw.choice(_LONG)
    data[start : start + len(value)] = value


def _digits(draw: random.Random, data: bytearray) -> None:
    """Replaces a digit by many, in texts such as headers and protocol 0."""
    places = [i for i, code in enumerate(data) if 48 <= code < 58]
    if places:
        start = draw.choice(places)
        data[start : start + 1] = b"9" * draw.choice((2, 10, 20))


_EDITS: tuple[Edit, ...] = (_flip, _cut, _repeat, _operation, _insert, _length, _digits)


def _inside_zip(draw: random.Random, data: bytes) -> bytes:
    """A whole archive again, one of its members mutated: mostly the description of tensors."""
    source, sink = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = source.namelist()
    chosen = draw.choice([name for name in names if name.endswith("data.pkl")] * 9 + names)
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            content = source.read(name)
            archive.writestr(name, _edited(draw, content) if name == chosen else content)
    return sink.getvalue()


def _inside_header(draw: random.Random, data: bytes) -> bytes:
    """A safetensors file whose header is mutated, its length kept right."""
    (size,) = struct.unpack_from("<Q", data)
    header = _edited(draw, data[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def mutated(draw: random.Random, data: bytes) -> bytes:
    """`data` with one to four edits, every other time inside what checks itself."""
    if draw.random() < 0.5:
        if data.startswith(b"PK"):
            return _inside_zip(draw, data)
        if data[8:9] == b"{":
            return _inside_header(draw, data)
    return _edited(draw, data)


def _edited(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if changed:
            draw.choice(_EDITS)(draw, changed)
    return bytes(changed)


def attempt(path: Path) -> str:
    """ "loaded", "refused", or what went wrong: another error, more lines, too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        load_weights(path)
    except WeightsError as error:
        text = str(error)
        return "refused" if text.isprintable() else f"not one line: {text!r}"
    except TimeoutError:
        return f"takes more than {SECONDS} s"
    except BaseException as error:  # whatever it is, it is the finding
        return f"raises {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return "loaded"


def run(count: int, seed: int, folder: Path) -> Counter[tuple[str, str]]:
    """(form, outcome) → how often, of `count` mutated files in this process."""
    forms = samples()
    draw = random.Random(seed)
    found: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        form = sorted(forms)[number % len(forms)]
        path = folder / f"case{Path(form).suffix}"
        path.write_bytes(mutated(draw, forms[form]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = attempt(path)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
        found[form, outcome if grown < MEBIBYTES else f"takes {grown} MiB"] += 1
        if outcome not in ("loaded", "refused"):
            path.rename(folder / f"kept-{seed}-{number}{path.suffix}")
    return found


def _in_processes(count: int, seed: int, folder: Path) -> Counter[tuple[str, str]]:
    """The same in forked processes, so that a crash is a finding too."""
    found: Counter[tuple[str, str]] = Counter()
    for start in range(0, count, _BATCH):
        source, sink = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(source)
            some = run(min(_BATCH, count - start), seed * 1_000_003 + start, folder)
            with os.fdopen(sink, "wb") as file:
                pickle.dump(dict(some), file)
            os._exit(0)
        os.close(sink)
        with os.fdopen(source, "rb") as file:
            text = file.read()
        _, status = os.waitpid(child, 0)
        if status or not text:
            found["batch", f"at {start} ended with {status}"] += 1
        else:
            found.update(pickle.loads(text))
    return found


def main() -> int:
    """Run, print the counts, and say whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that went wrong")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as own:
        folder = args.keep or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        found = _in_processes(args.count, args.seed, folder)
    for (form, outcome), times in sorted(found.items()):
        print(f"{form:20} {times:6} {outcome}")
    wrong = sum(n for (_, what), n in found.items() if what not in ("loaded", "refused"))
    seconds = time.monotonic() - start
    print(f"{args.count} files, {wrong} wrong, {seconds:.0f} s, seed {args.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
