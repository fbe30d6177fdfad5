"""One running guest: QEMU, the guest's console, and how it ended."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.debian import cache
from tests.judges import tool
from tests.vm import images, initramfs
from tests.vm.kinds import BOOT_MODULES, Kind
from tests.vm.marker import BUSYBOX, INSIDE, KERNEL
from tests.vm.modules import Modules

ACCEL = "RUMPHYPER_VM_ACCEL"
SHARE = "/run/vm"
"""Where a guest finds the folder that it may write to."""
ROOT = Path(__file__).parents[2]
"""The project."""
HIDDEN = ("/tmp", "/run")
"""Directories of the host over which a guest mounts its own."""
FAILED = 125
"""The exit status for a failure of the guest's own, as in init.sh."""
EXIT_PORT = 0xF4


class Guest:
    """A guest that runs one command as root in the project's folder, and ends.

    ``share`` is the folder in which it may write, `SHARE` inside. What it prints
    is kept for `tail`, or goes to this terminal when it is ``interactive``
    (Ctrl-A x ends QEMU). Skips the test when QEMU or a package is missing.
    """

    def __init__(
        self,
        kind: Kind,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        interactive: bool = False,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rumphyper-vm-")
        folder = Path(self._folder.name)
        self.share = folder / "share"
        self._console = folder / "console"
        try:
            self.share.mkdir()
            qemu = _qemu(kind, folder)
            script = _script(kind, command, environment or {})
            (self.share / "command").write_text(script)
            self._process = self._start(qemu, interactive)
        except BaseException:
            self._folder.cleanup()
            raise

    def _start(self, qemu: list[str], interactive: bool) -> subprocess.Popen[bytes]:
        # With setpriv QEMU does not outlive this process, however that ends.
        command = ["setpriv", "--pdeathsig", "KILL", *qemu, "-serial"]
        if interactive:
            return subprocess.Popen([*command, "mon:stdio"])
        nothing = subprocess.DEVNULL
        with self._console.open("w") as output:  # QEMU's own complaints too
            return subprocess.Popen(
                [*command, "stdio"], stdin=nothing, stdout=output, stderr=output
            )

    @property
    def pid(self) -> int:
        """The process of QEMU."""
        return self._process.pid

    def ended(self) -> bool:
        """Whether the machine has stopped."""
        return self._process.poll() is not None

    def wait(self, timeout: float | None = None) -> int | None:
        """The command's exit status once the guest has ended; None for a crash.

        Raises subprocess.TimeoutExpired.
        """
        status = self._process.wait(timeout)
        return status >> 1 if status > 0 and status % 2 else None

    def tail(self, lines: int = 100) -> str:
        """The last lines that the guest printed."""
        text = self._console.read_text(errors="replace").replace("\r", "")
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """End the guest, at once."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


def _qemu(kind: Kind, folder: Path) -> list[str]:
    program = tool("qemu-system-x86_64")
    kernel = images.kernel()
    modules = Modules(kernel.modules).order((*BOOT_MODULES, *kind.modules))
    initrd = folder / "initramfs"
    initrd.write_bytes(initramfs.build(kernel.busybox, modules, _kept()))
    files = "local,security_model=none,multidevs=remap"
    return [
        program,
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", kind.machine, "-accel", os.environ.get(ACCEL, "tcg")),
        *("-cpu", kind.cpu, "-smp", str(kind.cpus), "-m", str(kind.memory)),
        *_booted(kind, kernel.elf, initrd),
        *kind.devices,
        *("-virtfs", f"{files},path=/,mount_tag=root,readonly=on"),
        *("-virtfs", f"{files},path={folder / 'share'},mount_tag=share"),
        *("-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"),
    ]


def _booted(kind: Kind, kernel: Path, initrd: Path) -> list[str]:
    """What QEMU boots: Linux, or Xen with Linux and its initramfs as modules."""
    # A crash or an oops ends the guest: panic=-1 resets it, and -no-reboot.
    arguments = " ".join(("quiet", "panic=-1", "oops=panic", *kind.arguments))
    if kind.hypervisor is None:
        # A busy host is no reason to panic: "timer doesn't work".
        append = f"console=ttyS0 no_timer_check {arguments}"
        return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", append]
    xen = " ".join(("console=com1 com1=115200,8n1", *kind.hypervisor))
    dom0 = f"{kernel} console=hvc0 {arguments}".replace(",", ",,")
    modules = f"{dom0},{initrd}"
    return ["-kernel", str(images.xen().elf), "-append", xen, "-initrd", modules]


def _kept() -> list[Path]:
    """The folders that Python and the tests need below those that are hidden."""
    needed = {ROOT, cache(), Path(sys.prefix), Path(sys.base_prefix)}
    hidden = [Path(path) for path in HIDDEN]
    kept = {path for path in needed if any(top in path.parents for top in hidden)}
    return sorted(path for path in kept if not kept & set(path.parents))


def _script(kind: Kind, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What the guest's shell runs."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("RUMPHYPER") or name in ("CI", "HOME", "LANG", "TERM")
    }
    path = [f"{sys.prefix}/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    if kind.hypervisor is not None:
        xen = images.xen()
        path += map(str, xen.programs)
        passed["LD_LIBRARY_PATH"] = ":".join(map(str, xen.libraries))
    kernel = images.kernel()
    variables = {
        **passed,
        "PATH": ":".join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        INSIDE: kind.name,
        KERNEL: str(kernel.elf),
        BUSYBOX: str(kernel.busybox),
        **environment,
    }
    lines = [f"export {name}={shlex.quote(text)}" for name, text in variables.items()]
    lines.append(f"cd {shlex.quote(str(ROOT))}")
    for line in kind.setup:
        failed = f"echo vm: failed: {shlex.quote(line)}; exit {FAILED}"
        lines.append(f"{line} || {{ {failed}; }}")
    lines.append(f"exec {shlex.join(command)}")
    return "".join(f"{line}\n" for line in lines)
