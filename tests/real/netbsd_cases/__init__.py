"""What happens with a real NetBSD kernel; test_netbsd.py judges the results.

Each case runs as root of a network namespace of its own, see netbsd_session.py.
"""

from __future__ import annotations

from tests.real.netbsd_cases import buses, faults, leases, modes, refusals, veth, wire

CASES = {
    case.__name__: case
    for case in (
        wire.linux_and_netbsd_ping_each_other,
        wire.down_and_up_many_times,
        wire.create_and_destroy_many_times,
        wire.settings,
        veth.over_a_veth,
        buses.on_a_bus,
        buses.bridged_from_bus_to_tap,
        buses.with_a_station_on_the_bus,
        leases.dhcp,
        refusals.bad_input,
        refusals.not_permitted,
        refusals.missing_component,
        faults.boot_fails,
        faults.memory_runs_out,
        faults.frames_are_lost,
        faults.clock_is_skewed,
        faults.random_octets,
        faults.file_is_slow,
        faults.override_raises,
        faults.replayed,
        modes.by_class,
        modes.by_instance,
        modes.by_function,
        modes.by_address,
        modes.refused,
        modes.without_stock,
        modes.maps,
        modes.a_library_that_does_not_load,
    )
}
