"""Kernels that run on the hypercalls: the mini kernel and NetBSD's."""
