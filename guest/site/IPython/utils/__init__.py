"""What notebooks import of IPython.utils."""
