"""NetBSD's syscall proxy: system calls of a kernel for other processes.

The protocol is data and pure code, for a client and a server, which both trust
nothing that the other sends: `url` says where a server is, `banner` how it
introduces itself, `frames` what goes over the connection and how large it may be,
and `decoder` cuts a stream into frames that have been checked.

The other modules are the server: `listen` and `arrivals` (who may come), `pool`
(the threads), `client` and `stream` (one connection), `process` (what it is to the
kernel), `handshakes`, `memory` and `raising` (what the two sides ask of each
other), and `server`, which brings them together.
"""
