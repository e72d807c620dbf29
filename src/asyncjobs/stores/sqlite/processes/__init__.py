"""Which processes use a store, and how they keep out of each other's way."""
