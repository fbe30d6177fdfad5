"""The families: Python's answers to the hypercalls, one module for each."""
