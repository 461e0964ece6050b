"""Where libraries look for the shell."""

from IPython import get_ipython as get_ipython
