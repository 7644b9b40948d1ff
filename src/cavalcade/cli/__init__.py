"""Commands and their rendering; composes the embedded system. Holds no rules."""
