"""NetBSD's syscall proxy protocol as data and pure code: no I/O, no kernel.

A client and a server of the protocol are built on it, and both trust nothing
that the other sends: `url` says where a server is, `banner` how it introduces
itself, `frames` what goes over the connection and how large it may be, and
`decoder` cuts a stream into frames that have been checked.
"""
