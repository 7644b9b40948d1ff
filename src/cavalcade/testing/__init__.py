"""The shipped test kit: clocks, stores that crash, conformance suites. Never imported by production code."""
