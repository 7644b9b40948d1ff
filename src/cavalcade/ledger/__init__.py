"""The ledger: append-only, hash-chained per origin, idempotent, ordered, durable before it answers. Knows nothing of the domain."""
