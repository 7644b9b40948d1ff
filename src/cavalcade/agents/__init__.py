"""Who does a task. Agents talk to each other on the record only."""
