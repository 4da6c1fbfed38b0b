"""Kernels: one folder an op, with its reference, its CPU and GPU kernels and its torch binding."""
