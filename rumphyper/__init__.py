"""NetBSD rump kernel hypercalls and network back ends in pure Python.

The names below are the public face; each loads its room on first use, so that
``import rumphyper`` stays as cheap as importing attrs, ctypes and mmap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rumphyper.errors import RumphyperError
    from rumphyper.kernel.boot import boot, current_kernel
    from rumphyper.kernel.netbsd import Kernel
    from rumphyper.kernel.remote import RemoteKernel, connect
    from rumphyper.link import Link, open_link

__all__ = [
    "Kernel",
    "Link",
    "RemoteKernel",
    "RumphyperError",
    "__version__",
    "boot",
    "connect",
    "current_kernel",
    "open_link",
]

_HOME = {
    "Kernel": "rumphyper.kernel.netbsd",
    "Link": "rumphyper.link",
    "RemoteKernel": "rumphyper.kernel.remote",
    "RumphyperError": "rumphyper.errors",
    "boot": "rumphyper.kernel.boot",
    "connect": "rumphyper.kernel.remote",
    "current_kernel": "rumphyper.kernel.boot",
    "open_link": "rumphyper.link",
}


def __getattr__(name: str) -> object:
    """Load a public name from the room it lives in (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'rumphyper' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
