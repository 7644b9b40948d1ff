"""What everybody shares: the event envelope, the events of a run, commands, plans, receipts. Decides nothing, does no I/O."""
