"""Performs jobs in this process: claims, attempts, and what they need."""
