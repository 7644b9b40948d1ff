"""Drives runs: folds the ledger, decides, publishes jobs, merges. Plain code, no model."""
