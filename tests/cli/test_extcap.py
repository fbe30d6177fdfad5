"""``rumphyper extcap``: tshark finds our interfaces and captures on them."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.link import Link, open_link
from rumphyper.wireshark.sentences import sayable
from tests.cli.command import ROOT, TIMEOUT, argv, fails, run, started
from tests.judges import tool
from tests.link.tap_support import frame, ip
from tests.link.veth_support import veth
from tests.namespace import isolated

LENGTHS = [60, 61, 1514]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with no configuration but our script in Wireshark's folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    tool("tshark")
    done = run("extcap", "--install")
    assert done.returncode == 0, done.stderr
    return tmp_path


@contextlib.contextmanager
def bus_of(path: Path) -> Iterator[Link]:
    with open_link(f"shmif:{path}") as link:
        yield link


def shark(*words: str, seconds: float = 40) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("tshark"), *words], capture_output=True, text=True, check=False,
        timeout=seconds, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def captured(link: Link, *words: str) -> list[int]:
    """The lengths of the first frames that tshark captures of what is sent."""
    command = [tool("tshark"), "-l", "-n", "-c", str(len(LENGTHS)), *words]
    command += ["-T", "fields", "-e", "frame.len"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            for _ in range(int(TIMEOUT / 0.2)):
                if process.poll() is not None:
                    break
                # it says that it captures before it does: whole rounds
                link.send([bytes(12) + b"\x88\xb5" + bytes(n - 14) for n in LENGTHS])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
            out, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 0, err
    return [int(text) for text in out.split()]


def test_tshark_lists_and_captures_a_bus_that_somebody_has_open(home: Path) -> None:
    bus = home / "bus"
    with bus_of(bus) as link:
        listed = shark("-D").stdout
        assert f"shmif:{bus} (rumphyper: shared-memory bus)" in listed
        assert captured(link, "-i", f"shmif:{bus}") == LENGTHS
    assert f"shmif:{bus}" not in run("extcap", "--extcap-interfaces").stdout


def test_tshark_captures_on_a_link_that_is_named_in_an_option(home: Path) -> None:
    """The interface for every kind of link; what lay on the bus comes first."""
    bus = home / "a bus"
    with bus_of(bus) as link:
        link.send([bytes(n) for n in (70, 71)])
        words = ["-i", "rumphyper", "-o", f"extcap.rumphyper.linkstr:shmif:{bus}"]
        words += ["-o", "extcap.rumphyper.fromstart:true"]
        assert captured(link, *words)[:2] == [70, 71]


def test_tshark_reads_a_capture_file_as_an_interface(home: Path) -> None:
    file = home / "three.pcap"
    with open_link(f"pcap:{file}", mode="w") as link:
        link.send([bytes(n) for n in LENGTHS])
    option = f"extcap.rumphyper.linkstr:pcap:{file}"
    done = shark("-i", "rumphyper", "-o", option, "-T", "fields", "-e", "frame.len")
    assert done.stdout.split() == [str(n) for n in LENGTHS], done.stderr


def test_what_the_users_list_names_is_listed(home: Path) -> None:
    links = home / "config" / "rumphyper" / "links"
    links.parent.mkdir(parents=True, exist_ok=True)
    links.write_text(f"# of mine\n\n shmif:{home}/later\nshmif:{home}/a}}b\n")
    done = run("extcap", "--extcap-interfaces", "--extcap-version=4.0")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("extcap {version=")
    listed = [text for text in lines if str(home) in text]
    assert listed == [
        f"interface {{value=shmif:{home}/later}}{{display=rumphyper: of your list}}"
    ]
    links.write_text("nonsense\n")
    done = run("extcap", "--extcap-interfaces")
    assert "links line 1: 'nonsense': a linkstr is SCHEME:NAME" in done.stderr
    assert "{value=rumphyper}" in done.stdout


@isolated
def test_interfaces_of_the_host_are_listed_and_captured() -> None:
    veth("eth0", "far")
    ip("tuntap", "add", "tap7", "mode", "tap")
    ip("tuntap", "add", "tun7", "mode", "tun")
    listed = run("extcap", "--extcap-interfaces").stdout
    assert "{value=packet:eth0}{display=rumphyper: interface}" in listed
    assert "{value=packet:tap7}{display=rumphyper: interface}" in listed
    assert "tun7" not in listed  # it has no Ethernet frames
    reader, writer = os.pipe()
    words = ("--capture", "--extcap-interface", "packet:eth0", "--fifo")
    with (
        # not that of the other tests, which passes watchers by
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as near,
        subprocess.Popen(
            argv("extcap", *words, f"/dev/fd/{writer}"), cwd=ROOT, pass_fds=[writer]
        ) as process,
    ):
        os.close(writer)
        assert os.read(reader, 4096)  # the section's header
        near.bind(("eth0", 0))
        near.send(frame(bytes(46)))  # it goes out, and is seen
        assert frame(bytes(46)) in os.read(reader, 4096)
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    os.close(reader)


def test_a_listed_interface_has_link_types_and_options(home: Path) -> None:
    listed = run("extcap", "--extcap-interfaces").stdout
    names = re.findall(r"^interface \{value=(.*?)\}", listed, re.MULTILINE)
    assert names[0] == "rumphyper"
    assert len(names) > 1  # lo, at least
    for name in names[:2]:
        one = f"--extcap-interface={name}"
        dlt = run("extcap", "--extcap-dlts", one).stdout
        assert dlt == "dlt {number=1}{name=EN10MB}{display=Ethernet}\n"
        options = run("extcap", "--extcap-config", one)
        assert options.returncode == 0
        assert ("{call=--linkstr}" in options.stdout) == (name == "rumphyper")


def test_nobody_is_left_behind_when_the_reader_goes(tmp_path: Path) -> None:
    """Wireshark may be killed while no frame comes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with bus_of(tmp_path / "bus"):
        name = f"shmif:{tmp_path}/bus"
        with started(
            "extcap", "--capture", "--extcap-interface", name, "--fifo", fifo
        ) as process:
            with open(fifo, "rb") as reader:
                assert reader.read(4) == b"\x0a\x0d\x0d\x0a"
            assert process.wait(TIMEOUT) == 0
            assert process.communicate() == ("", "")


def test_dump_ends_with_its_reader(tmp_path: Path) -> None:
    with (
        bus_of(tmp_path / "bus"),
        started("dump", tmp_path / "bus", "-w", "-", "--format", "pcapng") as process,
    ):
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], TIMEOUT)[0]
        process.stdout.close()
        assert process.wait(TIMEOUT) == 0


def test_what_cannot_be_captured_is_said_where_wireshark_shows_it(home: Path) -> None:
    links = home / "config" / "rumphyper" / "links"
    links.parent.mkdir(parents=True, exist_ok=True)
    links.write_text(f"shmif:{home}/none\n")
    done = shark("-i", f"shmif:{home}/none", "-c", "1")
    assert done.returncode != 0
    assert "/none: No such file or directory" in done.stderr
    done = shark("-i", f"shmif:{home}/none", "-f", "tcp", "-c", "1")
    assert done.returncode != 0
    assert "use a display filter" in done.stderr
    capture = ("extcap", "--capture", "--extcap-interface")
    assert "/none" in fails(*capture, f"shmif:{home}/none", "--fifo", home / "f")
    assert "its option Link is empty" in fails(
        *capture, "rumphyper", "--fifo", home / "f"
    )
    assert "unknown scheme 'nope'" in fails(*capture, "nope:1", "--fifo", home / "f")
    assert "no --fifo is named" in fails(*capture, "packet:lo")
    words = ("--fifo", home / "f", "--extcap-capture-filter", "tcp")
    assert "use a display filter" in fails(*capture, "packet:lo", *words)
    assert not (home / "f").exists()
    assert "no interface is named" in fails("extcap", "--extcap-dlts")


def test_wireshark_asks_whether_a_capture_filter_is_good() -> None:
    """Whatever is said means no."""
    words = ("extcap", "--extcap-interface=rumphyper", "--extcap-capture-filter")
    assert run(*words, "").stdout == ""
    assert "use a display filter" in run(*words, "tcp").stdout
    assert "nothing is asked for" in fails("extcap")


def test_the_examples_of_the_page(home: Path) -> None:
    """tshark's commands as they stand there, for as many frames as are sent."""
    page = (ROOT / "docs" / "wireshark.md").read_text()
    commands = re.findall(r"^tshark .*?(?=  |$)", page, re.MULTILINE)
    assert len(commands) == 3
    with bus_of(home / "bus") as link:
        for command in commands:
            first, *words = command.replace("/tmp/bus", f"{home}/bus").split()
            assert first == "tshark"
            if words == ["-D"]:
                assert f"shmif:{home}/bus" in shark(*words).stdout
            else:
                assert captured(link, *words) == LENGTHS
        [pipe] = re.findall(r"`rumphyper (dump .*?) \| wireshark -k -i -`", page)
        words = pipe.replace("LINKSTR", f"shmif:{home}/bus").split()
        # the bus keeps what was sent: there is something to see from the start
        with subprocess.Popen(argv(*words), cwd=ROOT, stdout=subprocess.PIPE) as dump:
            done = subprocess.run(
                [tool("tshark"), "-i", "-", "-c", "3", "-Tfields", "-eframe.len"],
                stdin=dump.stdout, capture_output=True, text=True, timeout=TIMEOUT,
                check=True,
            )  # fmt: skip
            assert dump.stdout is not None
            dump.stdout.close()
            assert dump.wait(TIMEOUT) == 0
        assert done.stdout.split() == [str(n) for n in LENGTHS]


def test_names_that_the_protocol_cannot_say() -> None:
    assert sayable("shmif:/tmp/a bus,é")
    for text in ("shmif:/tmp/a}b", "shmif:/tmp/a\nb", os.fsdecode(b"shmif:\xff")):
        assert not sayable(text)


def test_installing_and_taking_away(tmp_path: Path) -> None:
    folder = tmp_path / "it's here" / "extcap"
    assert run("extcap", "--install", folder).returncode == 0
    script = folder / "rumphyper"
    assert os.access(script, os.X_OK)
    # from a folder with a trap, by a user with another environment
    (tmp_path / "rumphyper.py").write_text("raise SystemExit('trapped')")
    done = subprocess.run(
        [script, "--extcap-dlts", "--extcap-interface", "rumphyper"],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("dlt {number=1}")
    assert run("extcap", "--install", folder).returncode == 0  # again
    assert run("extcap", "--uninstall", folder).returncode == 0
    assert list(folder.iterdir()) == []
    assert "it is not there" in fails("extcap", "--uninstall", folder)
    script.write_text("#!/bin/sh\necho somebody else's\n")
    for job in ("--install", "--uninstall"):
        assert "not ours" in fails("extcap", job, folder)
    assert "Not a directory" in fails("extcap", "--install", script)


def test_no_wireshark_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "--install FOLDER" in fails("extcap", "--install")
