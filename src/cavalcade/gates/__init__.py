"""Deterministic checks of a change, each with a receipt that can be executed again. Never call a model."""
