"""What `asyncjobs demo` runs: a small app on a real server, and a client that checks it."""
