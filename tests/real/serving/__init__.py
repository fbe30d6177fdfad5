"""The server of the syscall proxy before stock clients and hostile ones."""
