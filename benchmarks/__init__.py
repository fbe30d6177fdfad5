"""Benchmarks: each measures rumphyper and a peer in one run.

`rumphyper bench` runs them. A module here offers ``run(quick)``, a generator
of `harness.Row`; the module's name is the benchmark's name.
"""

NAMES = (
    "shmif",
    "cas",
    "import",
    "pyz",
    "tap",
    "packet",
    "xdp",
    "netmap",
    "bridge",
    "gen",
    "dpdk",
    "netbsd",
    "hypercalls",
    "trace",
    "proxy",
    "pci",
    "xen",
)
"""The benchmarks in the order of the table; ``import`` lives in import_.py."""
