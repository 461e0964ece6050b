"""Old names of what IPython.display has."""
