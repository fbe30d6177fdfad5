"""Xen from a process: xenstore, grants, event channels, by /dev/xen/* alone."""

from rumphyper.xen.evtchn import EventChannels
from rumphyper.xen.gntalloc import Grants
from rumphyper.xen.gntdev import GrantCopier, MappedGrants
from rumphyper.xen.nodes import domain_kind
from rumphyper.xen.operations import Permission
from rumphyper.xen.privcmd import xen_version
from rumphyper.xen.xenstore import Watch, Xenstore

__all__ = [
    "EventChannels",
    "GrantCopier",
    "Grants",
    "MappedGrants",
    "Permission",
    "Watch",
    "Xenstore",
    "domain_kind",
    "xen_version",
]
