"""Loading the libraries of a plan into the process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Iterator

from rumphyper.errors import LibraryError
from rumphyper.host.elfneed import needing
from rumphyper.kernel.component import Component
from rumphyper.kernel.libraries import Plan

NAME = "rumphyper-kernel.so"


def load(plan: Plan) -> ctypes.CDLL:
    """Open all libraries of ``plan`` and return a handle that finds their symbols.

    What answers the hypercalls has to be in the process already, with its
    symbols global. The symbols become global too: a rump kernel's components
    find each other so. Nothing stays loaded on failure: LibraryError with what
    the loader said.
    """
    image = needing(
        plan.order[0].elf, NAME, [component.path for component in plan.search]
    )
    with _file(image) as path:
        try:
            return ctypes.CDLL(path, ctypes.RTLD_GLOBAL, use_errno=True)
        except OSError as error:
            folder = os.path.dirname(plan.order[0].path)
            raise LibraryError(
                f"the rump kernel in {folder}",
                str(error).replace(path, NAME),
                _remedy(str(error), plan.search),
            ) from None


def _remedy(said: str, components: tuple[Component, ...]) -> str:
    guilty = next((part for part in components if part.path in said), None)
    if guilty is None:
        return "install libraries of one version"
    return f"leave out the component {guilty.name!r}, or install its library again"


@contextlib.contextmanager
def _file(image: bytes) -> Iterator[str]:
    """A path under which the loader can open ``image``."""
    try:
        descriptor = os.memfd_create(NAME)
    except (AttributeError, OSError):  # no memfd: an old kernel, or not Linux
        with tempfile.NamedTemporaryFile(suffix=NAME) as file:
            file.write(image)
            file.flush()
            yield file.name
        return
    try:
        os.write(descriptor, image)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
