"""Each command: its name, arguments, flags and their environment variables. `cli.app` puts them into the tree."""
