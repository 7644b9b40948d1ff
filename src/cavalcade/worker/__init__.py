"""Claims jobs and carries them out with agents, gates and sandbox. Doesn't decide what is next."""
