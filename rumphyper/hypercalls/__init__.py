"""The catalogue of hypercalls, the families that answer them, the trace."""
