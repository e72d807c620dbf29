"""How the store writes: in one group commit a turn, durable before it is told."""
