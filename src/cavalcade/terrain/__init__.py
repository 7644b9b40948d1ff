"""The code index by blob id and the resolvers: definitions, references, imports, dependents. Never changes files."""
