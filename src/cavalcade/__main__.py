"""`python -m cavalcade` and the `cavalcade` command."""
