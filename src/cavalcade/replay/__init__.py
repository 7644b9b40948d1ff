"""A run again from its record: no model, no network, nothing of the user's touched; whatever comes out differently is named.

Reads the ledger and the content store of the run; writes to a ledger in memory and a scratch content store only.
"""
