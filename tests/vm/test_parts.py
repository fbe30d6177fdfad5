"""The harness's parts that need no guest: packages, modules, the archive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.debian import CACHE
from tests.vm import images, initramfs
from tests.vm.guest import ROOT, Guest
from tests.vm.kinds import BOOT_MODULES, KINDS, Kind
from tests.vm.modules import Modules, contents, depends

SMALL = "busybox-static"


@pytest.fixture(scope="module")
def modules() -> Modules:
    return Modules(images.kernel().modules)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_module_comes_after_what_it_depends_on(kind: Kind, modules: Modules) -> None:
    before: set[str] = set()
    for path in modules.order((*BOOT_MODULES, *kind.modules)):
        assert set(depends(contents(path))) <= before
        before.add(path.name.partition(".")[0].replace("-", "_"))
    wanted = {Path(name).stem.replace("-", "_") for name in kind.modules}
    assert {"9p", "9pnet", "netfs", *wanted} <= before


def test_a_module_that_is_not_there_is_named(modules: Modules) -> None:
    with pytest.raises(ValueError, match="has no module unobtainium"):
        modules.order(["virtio_pci", "unobtainium"])


def test_a_module_by_path_brings_its_dependencies(
    modules: Modules, tmp_path: Path
) -> None:
    own = tmp_path / "own-driver.ko"
    own.write_bytes(b"\x7fELF\0license=GPL\0depends=9pnet,vfio\0name=own_driver\0")
    order = modules.order([str(own)])
    assert order[-1] == own
    assert {modules.files["9pnet"], modules.files["vfio"]} < set(order)


def test_busybox_reads_the_archive(modules: Modules, tmp_path: Path) -> None:
    busybox = images.kernel().busybox
    inserted = modules.order(BOOT_MODULES)
    archive = initramfs.build(busybox, inserted, [Path("/tmp/kept")])
    subprocess.run(
        [busybox, "cpio", "-i"],
        input=archive, cwd=tmp_path, check=True, timeout=60,
    )  # fmt: skip
    assert (tmp_path / "bin" / "busybox").read_bytes() == busybox.read_bytes()
    assert (tmp_path / "init").stat().st_mode & 0o7777 == 0o755
    order = (tmp_path / "modules" / "order").read_text().split()
    for name, path in zip(order, inserted, strict=True):
        assert (tmp_path / "modules" / name).read_bytes() == contents(path)
    assert (tmp_path / "keep" / "list").read_text() == "/tmp/kept\n"


def test_two_at_once_unpack_a_package_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    images.packages([SMALL])  # or skip, where nothing can be fetched
    monkeypatch.setenv(CACHE, str(tmp_path))
    code = f"from tests.vm import images; print(*images.packages([{SMALL!r}]))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    first, second = (one.communicate(timeout=120)[0].strip() for one in both)
    assert first == second
    assert (Path(first) / "bin" / "busybox").stat().st_size > 1 << 20
    folders = [path for path in (tmp_path / "packages").iterdir() if path.is_dir()]
    assert folders == [Path(first)]


def test_what_was_unpacked_serves_without_apt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = images.kernel(), images.xen()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (images.kernel.__wrapped__(), images.xen.__wrapped__()) == there


def test_without_apt_and_cache_the_reason_of_the_skip_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"package {SMALL} cannot be had"):
        images.packages([SMALL])
    with pytest.raises(pytest.skip.Exception, match="no package linux-image-amd64"):
        images.kernel.__wrapped__()


def test_without_qemu_the_reason_of_the_skip_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="qemu-system-x86_64 is not"):
        Guest(KINDS["plain"], ["true"])
