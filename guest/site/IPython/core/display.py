"""Old names of what IPython.display has."""

from IPython.display import *  # noqa: F403  what there is, is there
