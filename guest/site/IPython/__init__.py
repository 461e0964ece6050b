"""What notebooks import of IPython, for sessions that do not have it: display, and get_ipython()."""

import builtins

from . import display as display

version_info = (9, 0, 0, "")
__version__ = "9.0.0"


def get_ipython():
    """The shell of this session."""
    return vars(builtins)["get_ipython"]()
