"""The typed faces in stubs/, held against the catalogue and the libraries."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from rumphyper.hypercalls.catalogue import CATALOGUE, Hypercall
from rumphyper.hypercalls.ctype import CType
from rumphyper.kernel.libraries import Libraries
from tests.hypercalls.support import Setup
from tests.judges import tool

STUBS = Path(__file__).parents[2] / "stubs"

INTEGERS = {
    "int", "unsigned", "long", "unsigned long", "size_t", "int64_t", "uint64_t"
}  # fmt: skip
TARGETS = {
    "int *": "c_int",
    "unsigned int *": "c_uint",
    "long *": "c_long",
    "unsigned long *": "c_ulong",
    "size_t *": "c_size_t",
    "int64_t *": "c_int64",
    "uint64_t *": "c_uint64",
}


def annotation(kind: CType) -> str:
    """How the stubs write a C type: derived from its spelling alone."""
    if kind.spelling in INTEGERS:
        return "int"
    if kind.spelling == "const char *":
        return "bytes | None"
    if kind.spelling in TARGETS:
        return f"Out[{TARGETS[kind.spelling]}]"
    return "Out[c_void_p]" if kind.spelling.endswith("**") else "Address"


def expected(call: Hypercall) -> str:
    """The stub of a hypercall."""
    parameters = ["self"]
    for argument in call.arguments:
        parameters.append(f"{argument.name}: {annotation(argument.type)}")
    if call.arguments:
        parameters.append("/")
    if call.variadic:
        parameters.append("*values: Any")
    result = call.result.spelling
    if call.noreturn:
        answer = "NoReturn"
    elif result == "void":
        answer = "None"
    else:
        answer = "int" if result in INTEGERS else "int | None"
    return f"def {call.name}({', '.join(parameters)}) -> {answer}: ..."


def stub(name: str) -> dict[str, ast.FunctionDef]:
    """The functions of the one class in a stub."""
    tree = ast.parse((STUBS / f"{name}.pyi").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    functions = [node for node in found.body if isinstance(node, ast.FunctionDef)]
    assert len({function.name for function in functions}) == len(functions)
    return {function.name: function for function in functions}


@pytest.mark.parametrize(
    ("name", "prefix"), [("librumpuser", "rumpuser_"), ("librumpcomp", "rumpcomp_")]
)
def test_faces_of_the_hypercalls(name: str, prefix: str) -> None:
    """Names, parameters and their types are the catalogue's, none missing."""
    written = {key: ast.unparse(node) for key, node in stub(name).items()}
    wanted = {
        key: ast.unparse(ast.parse(expected(call)))
        for key, call in CATALOGUE.items()
        if key.startswith(prefix)
    }
    assert written == wanted


def test_face_of_a_hypervisor(setup: Setup) -> None:
    """`Hypervisor.calls` has exactly those functions."""
    calls = setup.hv.calls
    assert calls.rumpuser_component_errtrans(11) == 35
    for name in [*stub("librumpuser"), *stub("librumpcomp")]:
        assert callable(getattr(calls, name))
    with pytest.raises(AttributeError):
        getattr(calls, "rumpuser_nonsense")  # noqa: B009


@pytest.mark.rump
def test_face_of_the_kernel(stock_path: str) -> None:
    """librump's functions exist, with as many parameters as its headers say."""
    folder = Path(stock_path).parent
    libraries = sorted(str(path) for path in folder.glob("librump*.so"))
    run = subprocess.run(
        [tool("nm"), "-D", "--defined-only", *libraries],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    exported = {line.split()[-1] for line in run.stdout.splitlines() if line}
    functions = stub("librump")
    here = {c for c in Libraries().components if c in ("virtif", "shmif")}
    absent = {
        name for name in functions
        if name not in exported and not (re.search("virt|shmif", name) and not here)
    }  # fmt: skip
    assert absent == set()
    headers = folder.parent / "include/rump"
    declared = {}
    for header in headers.glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        for name, parameters in re.findall(r"\b(rump_\w+)\s*\(([^()]*)\)\s*;", text):
            words = [part for part in parameters.split(",") if part.strip() != "void"]
            declared[name] = len(words)
    for name, function in functions.items():
        if name in declared:
            given = [*function.args.posonlyargs, *function.args.args]
            assert len(given) - 1 == declared[name], name
    assert len(set(functions) & set(declared)) >= 10 or not headers.exists()
