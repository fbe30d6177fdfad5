"""The catalogue's data, a module for each part of the contract.

Names, types and meanings are facts of NetBSD's headers and of rumpuser(3);
the errno values those of lib/librumpuser. Each module has CALLS.
"""
