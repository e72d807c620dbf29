"""The requests that are about jobs, from their connections to their answers."""
