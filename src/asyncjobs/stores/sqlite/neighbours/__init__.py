"""How the processes of a store tell each other what has changed."""
