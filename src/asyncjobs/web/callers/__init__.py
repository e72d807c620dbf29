"""Who has sent a request, and what its job may know of that."""
