"""The ground floor: ids, clock and random as arguments, the error tree, canonical bytes and digests.

Imports nothing but the standard library; does no I/O of its own.
"""
