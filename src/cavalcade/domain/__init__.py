"""The rules as pure functions: decide, evolve, pending. No I/O, no clock, no framework."""
