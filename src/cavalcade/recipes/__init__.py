"""Deterministic transformations: a tree in, edits out. Never touch the disk."""
