"""Where generated code runs: contained, limited, or refused. Never bare."""
