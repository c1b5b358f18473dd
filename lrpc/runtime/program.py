"""What every generated program is built around: `Program` and what it is given."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.arguments import batch_of, given_inputs, indexing
from lrpc.runtime.capture import chosen_calls
from lrpc.runtime.conditions import Masked, conditions_of, masked, seeds_of
from lrpc.runtime.copies import copied, reopening
from lrpc.runtime.interface import Interface, OfSizes, Request
from lrpc.runtime.limits import Call, Limits, of_images, out_of_memory, say
from lrpc.runtime.loading import WEIGHTS, ProgramError, check_files, check_finite, read_weights
from lrpc.runtime.manifests import read_manifest, rows_of
from lrpc.runtime.requests import (
    check_options,
    check_state,
    find_composite,
    find_target,
    places_of,
    starts_of,
    token_of,
)
from lrpc.runtime.result_buffers import Outputs, Room, apart, apart_from
from lrpc.runtime.results import Relevance, State, flat, ledger_of, rebuild
from lrpc.runtime.seeds import Target, seed_count, start
from lrpc.runtime.settings import in_own_modes, own_settings


class Program:
    """A compiled model: call `forward` once, then `relevance` any number of times."""

    def __init__(
        self,
        interface: Interface,
        directory: Path,
        device: str | torch.device,
        compile: bool = False,
        capture: bool = False,
    ) -> None:
        self.interface, self.directory = interface, directory
        self.device = torch.device(device)
        self.options = {"compile": compile, "capture": capture}
        self.reopen: Callable[[], Any] | None = None  # how pickles do it, where not by module name
        self.calls = chosen_calls(self.device, compile, capture)
        self.manifest = read_manifest(directory)
        check_files(directory, self.manifest)
        self.checksum = str(sorted(self.manifest["sha256"].items()))
        self.composites = (str(self.manifest.get("composite", "")), *interface.others)
        self.limits = Limits.of(self.manifest, interface.inputs)
        left = self.manifest.get("reference_weights", ())
        wanted = self.manifest["sha256"][WEIGHTS]
        with torch.inference_mode(False), torch.no_grad():
            self.weights = read_weights(directory / WEIGHTS, self.device, left, wanted)
        self.of_sizes = OfSizes()

    @in_own_modes
    def forward(self, *images: Tensor, **named: Tensor) -> State:
        """Run the model on inputs of the compiled shapes, with any batch size.

        The state holds the outputs and what relevance needs. If memory or the budget does not
        suffice for all images, a warning says so and fewer are processed at a time.
        """
        made = self.interface
        inputs = given_inputs(made.inputs, images, named, self.device, made.sizes)
        batch = batch_of(self.interface.inputs, inputs)
        limits = self.limits.at(made.sizes_of(inputs))
        return self._state(inputs, batch, limits.images(batch))

    def _state(self, inputs: dict[str, Tensor], batch: int, count: int) -> State:
        """The state of so many images, run `count` at a time, or fewer where memory ends."""
        if count == batch:
            try:
                return self._forward(inputs, batch)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            count = self.limits.fewer(batch, "forward")
        return self._in_pieces(inputs, batch, count)

    def _forward(self, inputs: dict[str, Tensor], batch: int) -> State:
        made = self.interface
        with own_settings(made.tf32, self.device), indexing(inputs):
            more = self.of_sizes(made, self.weights, inputs, self.device)
            given = [*inputs.values(), *more]
            outputs, saved = self.calls.forward(made.forward, self.weights, made.blocks, given)
        outputs = apart_from(more, outputs)
        for name, value in outputs.items():
            check_finite(value, f"output {name}", "check the input's range and the weights")
        whole = rebuild(made.structure, outputs)
        return State(whole, saved, batch, inputs, program=self.checksum)

    @in_own_modes
    def relevance(
        self,
        state: State,
        target: str = "output",
        at: Sequence[Sequence[int]] | Tensor | None = None,
        *,
        composite: str | None = None,
        seeds: Tensor | None = None,
        condition: Any = None,
        layer: int | None = None,
        token: int | None = None,
        norm: str = "none",
        read: Sequence[str] | None = None,
        ledger: bool = False,
        total: bool = False,
    ) -> Relevance:
        """Propagate relevance of `target`, which starts `at` indices or from `seeds`.

        Args:
            state: the result of `forward`.
            target: one of the program's targets.
            at: the indices of each seed, [(query, class), ...], the same for all images, or a list
                with one for each image. An integer tensor or array is read by its shape: [K, n],
                [K, B, n], or [B] for a target of one index: one seed, with another index in each
                image. A target without an index starts at [()].
            composite: one of the program's; by default its first.
            seeds: instead of `at`, the relevance itself, [K, *shape of the target].
            condition: the channels that pass at places, {"encoder.layers.3": [7, 12]}, or masks;
                or a list of such, one for each seed. A place is read before its mask.
            layer: the layer of encoder_feature and decoder_query.
            token: start an encoder feature at one token; by default at the mean over all.
            norm: scale of the start: `none`, `sum1` (to a sum of 1) or `sumT` (to the number of
                tokens).
            read: the places to compute; propagation ends at the last one. By default all.
            ledger: whether to book the ledger.
            total: give the sum over all seeds, K = 1, in the time of one.

        Raises:
            ProgramError: an argument that does not fit, or a result that is not finite.
        """
        check_state(state, self.checksum, self.device)
        if not state.pieces:
            self.calls.check(state.saved)
        state.check_unchanged()
        composite, name, chosen = self._target(composite, target, layer)
        check_options(norm, {"ledger": ledger, "total": total})
        sizes = self.interface.sizes_of(state.inputs)
        places, token = places_of(chosen, name, read), token_of(chosen, name, token, at, sizes)
        index, seeds = starts_of(chosen, name, state, at, seeds, self.interface.dtype, sizes)
        masks = conditions_of(chosen, name, condition, state.batch, sizes)
        count = seeds_of(name, 1 if total else seed_count(index, seeds), masks, total)
        most = batch_of(self.interface.inputs, state.pieces[0]) if state.pieces else state.batch
        call = Call(composite, name, places, ledger, state.batch, count)
        split = self.limits.at(sizes).split(call, most)
        if split.images < most:
            self._take_apart(state, split.images)
        how = (token, norm, places, ledger, total, split, masks)
        request = Request(composite, name, chosen, *how)
        named = self.interface.read_inputs
        room = Room(state.batch, {named.get(k, k): axis for k, axis in chosen.image_axes.items()})
        self._fill(room, 0, state, request, index, seeds)
        assert room.whole is not None  # there is one seed at least
        return room.whole

    def _take_apart(self, state: State, count: int) -> None:
        """Forget what a state saves: relevance runs the model again, on so many images a time."""
        state.pieces = tuple(apart(state.inputs, self.limits.axes, count))
        state.saved = {}  # another thread may still read what it was

    def _fill(
        self, room: Room, first: int, state: State, request: Request, at: Any, seeds: Tensor | None
    ) -> None:
        """Put the relevance of a state's images into `room`, where they are from `first` on."""
        if not state.pieces:
            try:
                self._relevance(room, first, state, request, at, seeds)
                return
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            what = f"relevance of {request.name}, one seed at a time"
            self._take_apart(state, self.limits.fewer(state.batch, what))
        done = 0
        for piece in state.pieces:
            count = batch_of(self.interface.inputs, piece)
            own = self._state(piece, count, count)
            where, given = of_images(at, seeds, request.target.batch_axis, done, count)
            self._fill(room, first + done, own, request, where, given)
            done += count
            del own

    def _relevance(
        self, room: Room, first: int, state: State, request: Request, at: Any, seeds: Tensor | None
    ) -> None:
        target, images = request.target, range(first, first + state.batch)
        value = state.saved[target.value[0]][target.value[1]]
        seed = start(target, request.name, value, at, seeds, request.token, request.norm)
        if request.total:
            seed = seed.total(request.split.per_pass)
        given = masked(seed, request.conditions.of_images(first, state.batch), state.batch)
        for own, part in self._passes(state, request, given):
            room.put(part, own, given.count, images)
            del part

    def _passes(
        self, state: State, request: Request, seed: Masked
    ) -> Iterator[tuple[range, Relevance]]:
        """As many seeds at once as the plan says, fewer where memory does not hold them."""
        name, step, first = request.name, request.split.per_pass, 0
        while first < seed.count:
            part = given = None
            try:
                given = seed.some(first, step)
                part = self._pass(request, state, given, min(request.split.chunk, step))
            except RuntimeError as error:
                if not out_of_memory(error) or step == 1:
                    raise
            del given
            if part is None:
                step = min(step, seed.count - first) // 2 or 1
                say(f"out of memory: relevance of {name} goes on with {step} seeds at a time")
                continue
            own = range(first, min(first + step, seed.count))
            yield own, part
            del part
            first = own.stop

    def at_once(
        self,
        target: str,
        seeds: int,
        images: int,
        *,
        state: State | None = None,
        composite: str | None = None,
        layer: int | None = None,
        read: Sequence[str] | None = None,
        ledger: bool = False,
    ) -> int:
        """How many of `seeds` seeds one call of `relevance` can take within the budget of the
        program; 0 if not one. It is for images of the sizes in `state`, or of the largest that the
        budget is kept for. The options are those of `relevance`."""
        composite, name, chosen = self._target(composite, target, layer)
        places = places_of(chosen, name, read)
        sizes = {} if state is None else self.interface.sizes_of(state.inputs)
        call = Call(composite, name, places, ledger, images, seeds)
        return self.limits.at(sizes).at_once(call)

    def __call__(self, *inputs: Any, **options: Any) -> Relevance:
        """`forward` and `relevance` in one call: the inputs, then the arguments of `relevance`.
        Inputs may be given by name, unless `relevance` has an argument of that name."""
        texts = [i for i, given in enumerate(inputs) if isinstance(given, str)]
        count = min([*texts, len(self.interface.inputs), len(inputs)])
        own = inspect.signature(self.relevance).parameters
        named = {k: options.pop(k) for k in self.interface.inputs if k in options and k not in own}
        return self.relevance(self.forward(*inputs[:count], **named), *inputs[count:], **options)

    def save(self, directory: str | Path) -> Path:
        """Write the program directory to `directory`, which must not exist or be empty."""
        return copied(self.directory, self.manifest, directory)

    # -- pickles and copies ----------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the directory that it is loaded from, device and options."""
        return self.reopen or reopening(self), (), {"sha256": self.manifest["sha256"]}

    def __setstate__(self, pickled: Mapping[str, Any]) -> None:
        if self.manifest["sha256"] != pickled["sha256"]:
            raise ProgramError(f"{self.directory} holds another program than the one pickled")

    def __copy__(self) -> Program:
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        made.calls = chosen_calls(self.device, **self.options)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        made = copy.copy(self)
        made.manifest = copy.deepcopy(self.manifest, memo)
        made.weights = copy.deepcopy(self.weights, memo)
        made.of_sizes = OfSizes()
        return made

    # -- helpers ---------------------------------------------------------------------------------

    def _target(self, composite: Any, target: Any, layer: Any) -> tuple[str, str, Target]:
        """The composite, and the name of the target and what it is under that."""
        own = find_composite(self.composites, composite)
        targets = self.interface.others.get(own, self.interface.targets)
        return own, *find_target(targets, target, layer)

    def _pass(
        self, request: Request, state: State, given: Sequence[Tensor], chunk: int
    ) -> Relevance:
        target, ledger = request.target, request.ledger
        inner = chunk if self.interface.per_pass else 0
        with own_settings(self.interface.tf32, self.device):
            found, amounts = self.calls.relevance(
                target.run, self.weights, state.saved, given, request.places, ledger, inner
            )
        for place, value in found.items():
            what = "raise epsilon, or keep finite what the model computes and torch.where drops"
            check_finite(value, f"relevance at {place}", what)
        named = self.interface.read_inputs
        inputs = {named[k]: v for k, v in found.items() if k in named}
        layers = {k: v for k, v in found.items() if k not in named}
        rows = rows_of(self.manifest, request.name, request.composite)
        return Relevance(inputs, layers, ledger_of(rows, amounts) if ledger else None)

    def _in_pieces(self, inputs: dict[str, Tensor], batch: int, count: int) -> State:
        """The model on `count` images at a time, which relevance will run it on again."""
        pieces = tuple(apart(inputs, self.limits.axes, count))
        structure, found = self.interface.structure, Outputs(batch, self.manifest["outputs"])
        for piece in pieces:
            size = batch_of(self.interface.inputs, piece)
            found.put(flat(structure, self._state(piece, size, size).outputs))
        return State(rebuild(structure, found.whole), {}, batch, inputs, pieces, self.checksum)
