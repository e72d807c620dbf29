"""A stored request, and its view in the background: what is kept, and how it is performed."""
