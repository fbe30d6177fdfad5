"""Wireshark's extcap: how it asks for interfaces, and where it looks for who tells."""
