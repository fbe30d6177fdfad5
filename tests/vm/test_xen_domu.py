"""Python as the front end of a paravirtualised guest's vif: the longer test.

RUMPHYPER_LONG_TESTS=1 pytest tests/vm/test_xen_domu.py

Dom0 starts a domain whose file system holds this very Python, as many of its modules
as the case has loaded, and nothing else but busybox.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.vm.initramfs import archive
from tests.vm.marker import BUSYBOX, KERNEL
from tests.vm.modules import Modules, contents
from tests.vm.xen_support import LINUX, PYTHON, eventually, linux_pings, run

pytestmark = [
    pytest.mark.vm("xen", timeout=240),
    pytest.mark.skipif(
        os.environ.get("RUMPHYPER_LONG_TESTS") != "1",
        reason="takes a minute: RUMPHYPER_LONG_TESTS=1 runs it",
    ),
]

DOMU = """
name = "domu"
kernel = "{kernel}"
ramdisk = "{ramdisk}"
cmdline = "console=hvc0 quiet panic=-1"
memory = 256
vif = ["mac=00:16:3e:00:00:77,script={script}"]
on_poweroff = "destroy"
"""

SCRIPT = f"""#!/bin/sh
[ "$1" = online ] || exit 0
ip link set "$vif" up
ip addr replace {LINUX}/24 dev "$vif"
xenstore-write "$XENBUS_PATH/hotplug-status" connected
"""

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in {modules}; do /bin/busybox insmod /modules/$module; done
export PYTHONHOME={home} PYTHONPATH={path} PYTHONDONTWRITEBYTECODE=1
{python} -c "from tests.vm.xen_domu_case import main; main()" 2>&1
/bin/busybox poweroff -f
"""

PROJECT = Path(__file__).parents[2]
WANTED = ("xen-evtchn", "xen-gntalloc", "xen-privcmd", "xenfs")


def ours() -> dict[str, bytes]:
    """This interpreter and the modules that the case needs, by their paths."""
    code = (
        "import sys, tests.vm.xen_domu_case as case; case.load();"
        "print(*(getattr(m, '__file__', None) or '' for m in sys.modules.values()),"
        "sep='\\n')"
    )
    python = str(Path(sys.executable).resolve())
    path = {"PYTHONPATH": f"{PROJECT}", "PYTHONDONTWRITEBYTECODE": "1"}
    listed = subprocess.run(
        [sys.executable, "-c", code],
        env=path,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {name for name in listed.stdout.split("\n") if name}
    objects = [python, *(name for name in names if ".so" in name)]
    for line in run("ldd", *objects).splitlines():
        names |= {word for word in line.split() if word.startswith("/")}
    names = {name.rstrip(":") for name in names} | {python}
    return {
        name.lstrip("/"): Path(name).read_bytes()
        for name in sorted(names)
        if Path(name).is_file()
    }


def ramdisk() -> bytes:
    files = ours()
    root = Path(os.environ[KERNEL]).parents[1]
    (folder,) = [*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*")]
    modules = Modules(folder).order(WANTED)
    for module in modules:
        files[f"modules/{module.name}"] = contents(module)
    site = next(name for name in files if name.endswith("attr/__init__.py"))
    init = INIT.format(
        modules=" ".join(module.name for module in modules),
        home=sys.base_prefix,
        path=f"{PROJECT}:/{site.removesuffix('/attr/__init__.py')}",
        python=Path(sys.executable).resolve(),
    )
    files["init"] = init.encode()
    files["bin/busybox"] = Path(os.environ[BUSYBOX]).read_bytes()
    folders = {str(parent) for name in files for parent in Path(name).parents}
    folders |= {"dev", "proc", "sys", "tmp"}
    return archive(sorted(folders - {"."}), files)


def test_python_is_the_front_end_of_a_guest(tmp_path: Path) -> None:
    disk, script = tmp_path / "ramdisk", tmp_path / "script"
    disk.write_bytes(ramdisk())
    script.write_text(SCRIPT)
    script.chmod(0o755)
    settings = tmp_path / "domu.cfg"
    kernel = os.environ[KERNEL]
    settings.write_text(DOMU.format(kernel=kernel, ramdisk=disk, script=script))
    log = Path("/var/log/xen/guest-domu.log")

    def said(text: str) -> bool:
        return text in log.read_text(errors="replace") if log.exists() else False

    run("xl", "create", str(settings))
    try:
        eventually(lambda: said("domU answers") or said("Traceback"), 120)
        assert linux_pings(50, 1400), log.read_text(errors="replace")
        eventually(lambda: said("domU is done"), 60)
        text = log.read_text(errors="replace")
        assert f"domU: 100 of 100 pings of {LINUX} answered to {PYTHON}" in text
        assert "domU: domU, vif 00:16:3e:00:00:77" in text
        end = time.monotonic() + 30
        while "domu" in run("xl", "list"):
            assert time.monotonic() < end
            time.sleep(0.3)
    finally:
        print(log.read_text(errors="replace") if log.exists() else "said nothing")
        subprocess.run(["xl", "destroy", "domu"], check=False)  # if it still runs
