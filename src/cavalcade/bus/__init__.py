"""Jobs and messages between supervisor and workers; never the truth. Here: in memory, in one process."""
