"""From the start of an app to its end: its configuration, and the server around it."""
