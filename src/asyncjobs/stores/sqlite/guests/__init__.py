"""The store for guests, who see and steer it from outside of the programs that run its jobs."""
