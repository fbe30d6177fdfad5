"""The record that `rumphyper doctor` prints, and how a probe makes one."""

from __future__ import annotations

import os
from typing import Literal

import attrs

Status = Literal["ready", "missing", "denied", "unsupported"]
"""ready: works now. missing: install or load something. denied: permission.
unsupported: this host or this version of rumphyper cannot do it."""


@attrs.frozen
class Finding:
    """What one probe found: ``remedy`` is empty only when ``status`` is ready."""

    name: str
    status: Status
    reason: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        return attrs.asdict(self)


def device(
    name: str, path: str, missing_remedy: str, denied_remedy: str
) -> Finding | None:
    """Check that the device node at ``path`` opens; None when it does.

    Opening is the only honest test: a mode or an ACL may lie, and a node
    without its module opens with ENODEV or ENXIO.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except PermissionError:
        return Finding(
            name, "denied", f"{path} may not be opened for writing", denied_remedy
        )
    except FileNotFoundError:
        return Finding(name, "missing", f"{path} does not exist", missing_remedy)
    except OSError as error:
        return Finding(name, "missing", f"{path}: {error.strerror}", missing_remedy)
    return None
