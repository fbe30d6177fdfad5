"""What host-side code of a component (virtif, shmif, PCI) may ask for.

Facts: NetBSD lib/librumpuser/rumpuser_component.h and rumpuser_component.c.
"""

from rumphyper.hypercalls.ctype import ERRNO_VALUE, INT, LWP, POINTER, VOID
from rumphyper.hypercalls.record import Argument, Hypercall

CALLS = (
    Hypercall(
        "rumpuser_component_unschedule",
        POINTER,
        (),
        family="component",
        summary="give up the virtual CPU before something that may wait",
        returns="a cookie for rumpuser_component_schedule: kernel locks held",
    ),
    Hypercall(
        "rumpuser_component_schedule",
        VOID,
        (Argument("cookie", POINTER, "from unschedule; NULL for a new context"),),
        family="component",
        summary="get a virtual CPU (again) before entering the kernel",
        blocks=True,
    ),
    Hypercall(
        "rumpuser_component_errtrans",
        ERRNO_VALUE,
        (Argument("hosterr", INT, "an errno of the host"),),
        family="component",
        summary="translate an errno of the host to NetBSD's",
        returns="NetBSD's errno; EINVAL for what NetBSD does not have",
    ),
    Hypercall(
        "rumpuser_component_kthread",
        VOID,
        (),
        family="component",
        summary="give the calling host thread an lwp of the kernel's process 0",
    ),
    Hypercall(
        "rumpuser_component_curlwp",
        LWP,
        (),
        family="component",
        summary="the lwp of the calling host thread, asked of the kernel",
        returns="the lwp",
    ),
    Hypercall(
        "rumpuser_component_switchlwp",
        VOID,
        (Argument("l", LWP, "the lwp; NULL: none"),),
        family="component",
        summary="make another lwp the calling host thread's",
    ),
    Hypercall(
        "rumpuser_component_kthread_release",
        VOID,
        (),
        family="component",
        summary="give back the lwp of rumpuser_component_kthread",
    ),
)
