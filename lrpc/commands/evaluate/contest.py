"""The methods of one evaluation: programs under names of their own, and baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lrpc.commands.evaluate.cams import Cam, map_place
from lrpc.commands.evaluate.candidates import Candidate
from lrpc.commands.evaluate.job import Job
from lrpc.commands.evaluate.methods import IntegratedGradients, Method, Random
from lrpc.commands.evaluate.model import load_models
from lrpc.commands.evaluate.rollout import CrossAttention, Rollout
from lrpc.commands.evaluate.sampled import DRise, SmoothGrad
from lrpc.commands.evaluate.settings import ATTENTION, CAMS, GRADIENTS
from lrpc.commands.evaluate.trivial import KINDS, Trivial
from lrpc.commands.session.labels import labels_of
from lrpc.commands.session.members import Member
from lrpc.commands.session.sizing import Sizing, up_to
from lrpc.errors import ConfigError, ProgramError
from lrpc.models.maskdino import MaskDINO
from lrpc.models.sources import build_model
from lrpc.program.loading import check_directory
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.protocol import Size

_GRADIENT = "gradient_input"
_SIDE = 256  # pixels, of a size that is tried
_BASELINE = Candidate(_GRADIENT, {"COMPOSITE": _GRADIENT, "RULES": []})


@dataclass(frozen=True)
class Contest:
    """The programs to compare, and all methods, baselines among them."""

    models: tuple[Member, ...]
    methods: tuple[Method, ...]


def programs_of(job: Job) -> list[Member]:
    """Every composite of the directories that were named."""
    if not job.programs:
        return []
    for path in job.programs:
        check_directory(path)
    manifests = {path: manifest_of(path) for path in job.programs}
    labels = labels_of(manifests, [one.name for one in job.candidates])
    return [one for path, label in labels.items() for one in load_models(path, job.device, label)]


def contest(job: Job, models: Sequence[Member]) -> Contest:
    """The programs that were named, the candidates of --config, and baselines. Raises LrpcError."""
    plain = [m.name for m in models if _is_plain(m.facts.composite, m.facts.settings.get("RULES"))]
    for candidate in job.candidates:
        options = job.recipe().of(candidate).LRPC
        if _is_plain(candidate.member or options.COMPOSITE, options.RULES):
            plain.append(candidate.name)
    wanted = list(job.candidates)
    if not plain and set(GRADIENTS) & set(job.baselines):
        _need_config(job, _GRADIENT)
        wanted.append(_BASELINE)
    made = job.compile(wanted)
    own = [*models, *made[: len(job.candidates)]]
    everyone = [*models, *made]
    check_same(everyone)
    gradient = next((m for m in everyone if m.name == next(iter(plain), _GRADIENT)), None)
    methods: list[Method] = [
        job.relevance(model, against) for model in own for against in ("", *job.settings.contrasts)
    ]
    methods += _baselines(job, own[0], gradient, alone=not plain)
    methods += _sampled(job, own[0])
    counts = Counter(method.name for method in methods)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ProgramError(
            f"two methods are called {twice[0]}; rename the folder or the candidate of one"
        )
    return Contest(tuple(own), tuple(methods))


def _is_plain(composite: object, rules: object) -> bool:
    """Whether a program gives input times gradient, and so need not be compiled again."""
    return composite == _GRADIENT and not rules


def check_same(models: Sequence[Member]) -> None:
    """Raise ProgramError where programs are not of one model at one size: their objects, and the
    curves' scores, come from the first."""
    first = models[0].facts
    for model in models[1:]:
        if model.facts.sizing.takes != first.sizing.takes:
            what = "take images of different sizes"
        elif model.facts.weights.get("sha256") != first.weights.get("sha256"):
            what = "have different weights"
        else:
            continue
        raise ProgramError(
            f"{models[0].name} and {model.name} {what}; compare one model's programs"
        )


def _baselines(
    job: Job, first: Member, gradient: Member | None, *, alone: bool
) -> Iterator[Method]:
    """The baselines; input × gradient itself only where no program that is compared is it."""
    if gradient is not None:
        yield from _of_gradients(job, gradient, alone)
    if {*CAMS, *ATTENTION} & set(job.baselines):
        yield from _of_the_model(job, first)


def _of_the_model(job: Job, first: Member) -> Iterator[Method]:
    """Baselines that look into the model itself; those that were not named are left out where they
    cannot be made."""
    names = [name for name in (*CAMS, *ATTENTION) if name in job.baselines]
    asked = job.args.baselines is not None
    _need_config(job, names[0])
    config = job.config()
    network = build_model(config)[0].to(job.device)
    padding: bool = config.LRPC.PADDING_MASK
    cams = [name for name in names if name in CAMS]
    if cams:
        try:
            place = map_place(network, _size(first.facts.sizing))
        except ProgramError as error:
            if asked:
                raise ConfigError(f"--baselines {cams[0]}: {error}") from error
        else:
            yield from (Cam(network, name, place, padding) for name in cams)
    for name in names:
        if name in ATTENTION and isinstance(network, MaskDINO):
            kind = Rollout if name == "rollout" else CrossAttention
            yield kind(network, job.settings.batch, padding)
        elif name in ATTENTION and asked:
            raise ConfigError(f"--baselines {name} needs LRPC.SOURCE embedded, to see attention")


def _size(sizing: Sizing) -> Size:
    """A size that the model takes, no smaller than its maps need."""
    if sizing.shapes:
        return sizing.shapes[0]
    down, across = sizing.steps or (1, 1)
    return up_to((_SIDE, _SIDE), (down, across))


def _sampled(job: Job, first: Member) -> Iterator[Method]:
    """Baselines that need no gradients."""
    settings = job.settings
    if "drise" in job.baselines:
        yield DRise(first, job.args.samples or 500, settings.batch, settings.seed)
    for name in KINDS:
        if name in job.baselines:
            yield Trivial(name)
    if "random" in job.baselines:
        yield Random(settings.seed)


def _of_gradients(job: Job, gradient: Member, alone: bool) -> Iterator[Method]:
    """Baselines that a program of input × gradient gives."""
    batch, names = job.settings.batch, job.baselines
    if alone and _GRADIENT in names:
        yield job.relevance(gradient)
    if "integrated_gradients" in names:
        yield IntegratedGradients(gradient, job.args.ig_steps, batch)
    if "smoothgrad" in names:
        yield SmoothGrad(gradient, job.args.samples or 20, batch, job.settings.seed)


def _need_config(job: Job, name: str) -> None:
    if job.args.config is None:
        hint = f", or a program of composite {_GRADIENT}" if name == _GRADIENT else ""
        raise ConfigError(f"--baselines: {name} needs the model: give --config FILE{hint}")
