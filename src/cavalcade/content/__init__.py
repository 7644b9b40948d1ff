"""The content store: every state of the tree as git objects in the project's own repository. Knows nothing of runs."""
