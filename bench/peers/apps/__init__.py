"""What is served of each peer, and what its worker runs. Imported in its environment only."""
