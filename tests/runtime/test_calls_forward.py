"""What a caller gives to `forward`, `load` and `save` has a result, or one line in their terms."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.program.loading import load_program
from tests.support import small_calls


@pytest.fixture(scope="module")
def program() -> Any:
    return small_calls.program()


@pytest.fixture(scope="module")
def directory(program: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved: Path = program.save(tmp_path_factory.mktemp("calls") / "small")
    return saved


def refusal(call: Callable[[], object]) -> str:
    """What a call is refused with, in one line."""
    with pytest.raises(ProgramError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


IMAGES, WORDS = small_calls.inputs()


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (None, "must be a torch.Tensor, got None"),
        (IMAGES.tolist(), "must be a torch.Tensor, got list"),
        (IMAGES.numpy(), "must be a torch.Tensor, got ndarray; torch.from_numpy makes one"),
        (IMAGES.to("meta"), "is on the meta device, without numbers; give one with numbers"),
        (IMAGES.to_sparse(), "is a sparse tensor; give a dense one"),
        (torch.nested.nested_tensor([IMAGES[0]], layout=torch.jagged), "is a nested tensor; give"),
        (IMAGES[0], "must have shape [B, 3, 6, 6], got [3, 6, 6]: this program holds one size"),
        (IMAGES[..., :5], "must have shape [B, 3, 6, 6], got [2, 3, 6, 5]: this program holds one"),
        (IMAGES[:0], "is an empty batch"),
        (IMAGES.double(), "must be torch.float32, got torch.float64"),
        (IMAGES.byte(), "must be torch.float32, got torch.uint8"),
        (IMAGES.to(torch.complex64), "must be torch.float32, got torch.complex64"),
        (IMAGES * float("nan"), "holds NaN or infinity; repair the data"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_inputs_of_the_wrong_kind(program: Any, images: object, told: str) -> None:
    assert refusal(lambda: program.forward(images, WORDS)).startswith(f"input images {told}")


@pytest.mark.parametrize(
    ("given", "named", "told"),
    [
        ((), {}, "got nothing"),
        ((IMAGES,), {}, "got images"),
        ((IMAGES, WORDS, WORDS), {}, "got 3 inputs"),
        ((IMAGES,), {"word": WORDS}, "got word; did you mean 'words'?"),
        ((IMAGES,), {"images": IMAGES}, "got images twice, by its place and by its name"),
    ],
)
def test_inputs_that_do_not_fit_the_names(
    program: Any, given: tuple[Any, ...], named: dict[str, Any], told: str
) -> None:
    assert refusal(lambda: program.forward(*given, **named)) == (
        f"forward takes images, words; {told}"
    )


def test_an_index_that_the_model_has_no_entry_for(program: Any) -> None:
    assert refusal(lambda: program.forward(IMAGES, WORDS + 7)) == (
        "input words holds an index out of range; the model has no such entry"
    )


def test_inputs_in_a_transform_of_torch_func(program: Any) -> None:
    told = refusal(
        lambda: torch.func.vmap(lambda x: program.forward(x[None], WORDS[:1]).outputs)(IMAGES)
    )
    assert told == "input images is inside a transform of torch.func; call programs outside it"


class Photo(Tensor):
    """A subclass of tensors, as data sets have."""


def test_the_same_numbers_give_the_same_bits(program: Any) -> None:
    """Strides choose kernels, and subclasses and gradients travel: none of it may matter."""
    expected = program.relevance(program.forward(IMAGES, WORDS), at=[1]).input
    wide = torch.zeros(2, 3, 6, 12)
    wide[..., ::2] = IMAGES
    for same in (
        IMAGES.to(memory_format=torch.channels_last),
        IMAGES.transpose(2, 3).contiguous().transpose(2, 3),
        wide[..., ::2],
        IMAGES.clone().requires_grad_(),
        IMAGES.clone().as_subclass(Photo),
    ):
        found = program.relevance(program.forward(same, WORDS), at=[1]).input
        assert torch.equal(found, expected)
        assert type(found) is Tensor
        assert not found.requires_grad


def test_both_in_one_call(program: Any) -> None:
    expected = program.relevance(program.forward(IMAGES, WORDS), at=torch.tensor([1, 2])).input
    for found in (
        program(IMAGES, WORDS, "output", torch.tensor([1, 2])),
        program(IMAGES, WORDS, at=torch.tensor([1, 2])),
        program(IMAGES, words=WORDS, at=torch.tensor([1, 2])),
        program(at=torch.tensor([1, 2]), words=WORDS, images=IMAGES),
    ):
        assert torch.equal(found.input, expected)
    told = refusal(lambda: program(IMAGES.numpy(), WORDS, "output", [1]))
    assert told.startswith("input images must be a torch.Tensor, got ndarray")


# Loading.


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("cdua", "device='cdua' is no device of torch; give \"cpu\", \"cuda\" or \"cuda:N\""),
        ("", "device='' is no device of torch"),
        (None, 'device must be a name, as in device="cuda", got None'),
        (True, 'device must be a name, as in device="cuda", got True'),
        ("meta", 'device="meta" has no numbers to compute with'),
        ("xpu", "device='xpu': torch sees no such device here; use \"cpu\""),
        pytest.param(
            "cuda", "device='cuda': torch sees no such device here; use \"cpu\"",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)  # fmt: skip
def test_devices_that_there_are_not(directory: Path, device: Any, told: str) -> None:
    assert told in refusal(lambda: load_program(directory, device))
    # Before anything is compiled, and without a folder that the caller does not know.
    assert refusal(lambda: small_calls.program(device=device)).startswith(told)


def run(code: str, *folders: Path) -> str:
    """What a fresh interpreter without lrpc prints, `folders` on its path."""
    paths = [str(folder) for folder in folders]
    start = f"import sys; sys.path[:0] = {paths!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, check=False, cwd="/"
    )
    assert not done.returncode, done.stderr
    return done.stdout


TOLD = """
import program
def told(*given, **named):
    try:
        program.load(*given, **named)
    except program.ProgramError as error:
        print(error)
    else:
        print("loaded")
"""


def test_what_load_is_given_must_be_of_its_kind(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    calls = f"""
told(5); told("/nowhere"); told({str(tmp_path / "empty")!r});
told(compile="yes"); told(capture=1); told(keep_pages=None); told(device=2.5)
told(program.__file__); told()
"""
    assert run(TOLD + calls, directory).splitlines() == [
        "path=5 is not the path of a program directory",
        "/nowhere: no such directory; give the one that holds program.py",
        f"{tmp_path}/empty: not a program directory, it lacks manifest.json",
        "compile takes True or False, got 'yes'",
        "capture takes True or False, got 1",
        "keep_pages takes True or False, got None",
        'device must be a name, as in device="cuda", got 2.5',
        f"{directory}/program.py: no such directory; give the one that holds program.py",
        "loaded",
    ]


def test_two_directories_of_one_module_name(directory: Path, tmp_path: Path) -> None:
    """`import program` gives the first one again, and weights must not go with another's code."""
    other = small_calls.program(composite="gamma").save(tmp_path / "other")
    code = (
        TOLD
        + f"""
first = program
sys.path.insert(0, {str(other)!r})
import program
assert program is first
told(); told({str(other)!r})
sys.path.insert(0, {str(other.parent)!r})
from other.program import load
assert load().composites == ("gamma",)
told({str(directory)!r})
"""
    )
    one, two, three = run(code, directory).splitlines()
    assert one == (
        f"module 'program' is {directory}, imported first, and sys.path now has {other} in front;"
        " import several programs by their directories' names, as in `from other import program`"
        f" with {other.parent} on sys.path"
    )
    assert two == (
        f"{other} holds another program than the one imported, or was compiled again since; import"
        " program.py of that directory anew"
    )
    assert three == "loaded"


def test_code_names_the_file_that_it_was_loaded_from(tmp_path: Path) -> None:
    """Also where a program of the same text was loaded before."""
    first: Any = small_calls.program()
    for program in (first, load_program(first.save(tmp_path / "other"), "cpu")):
        module = type(program).forward.__globals__
        functions = [f for f in module.values() if isinstance(f, FunctionType)]
        pending = [f.__code__ for f in functions if f.__globals__ is module]
        found = set()
        while pending:
            code = pending.pop()
            found.add(code.co_filename)
            pending += [c for c in code.co_consts if isinstance(c, CodeType)]
        assert found == {str(Path(program.directory).resolve() / "program.py")}


# Saving.


def test_a_directory_that_is_gone_or_changed_since(program: Any, tmp_path: Path) -> None:
    place = program.save(tmp_path / "moved")
    loaded = load_program(place, "cpu")
    expected = program.relevance(program.forward(IMAGES, WORDS), at=[1]).input
    (place / "weights.safetensors").write_bytes(b"others")
    assert refusal(lambda: loaded.save(tmp_path / "a")) == (
        f"{place}/weights.safetensors was changed since it was compiled; compile the program again"
    )
    shutil.rmtree(place)
    assert refusal(lambda: loaded.save(tmp_path / "a")) == (
        f"{place} is gone since this program was loaded from it"
    )
    found = loaded.relevance(loaded.forward(IMAGES, WORDS), at=[1]).input
    assert torch.equal(found, expected)
    assert not list(tmp_path.iterdir())


def test_where_a_program_cannot_be_saved(program: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for wrong, told in (
        (None, "save takes the path of a new directory, got None"),
        (5, "save takes the path of a new directory, got 5"),
        (tmp_path, f"{tmp_path}: exists and is not empty; choose another directory"),
        (tmp_path / "file", f"{tmp_path}/file: exists and is not empty; choose another directory"),
        (tmp_path / "file" / "a", f"{tmp_path}/file/a: File exists; choose another directory"),
        (tmp_path / ("n" * 300), f"{tmp_path}/{'n' * 300}: File name too long; choose another"),
    ):
        assert refusal(lambda wrong=wrong: program.save(wrong)).startswith(told)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    assert load_program(program.save(tmp_path / "empty"), "cpu").composites == ("epsilon",)
