"""matplotlib in a session: figures become results, and the font list comes from the image.

plt.show() hands each open figure to the run's results and closes it. The font list takes seconds to build; it is put
into the session's cache when matplotlib is first imported.
"""

import os
import sys

from after_import import after_import

BACKEND = "module://era_matplotlib"
FONT_LISTS = "/usr/share/era/matplotlib"
CACHE = "/root/.cache/matplotlib"


def figure_to_png(value):
    """The PNG of a matplotlib figure or of the figure of its axes; None for any other object."""
    if "matplotlib.figure" not in sys.modules:
        return None
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    figure = value.get_figure() if isinstance(value, Axes) else value
    if not isinstance(figure, Figure):
        return None
    import io

    content = io.BytesIO()
    figure.savefig(content, format="png", bbox_inches="tight")
    return content.getvalue()


def install():
    after_import("matplotlib", _prepare)


def _prepare(matplotlib):
    """In this process only: what it starts has nobody to show a figure to."""
    if os.environ.get("MPLBACKEND") == "agg":
        matplotlib.rcParams["backend"] = BACKEND
    _seed()


def _seed():
    try:
        os.makedirs(CACHE, exist_ok=True)
        for name in os.listdir(FONT_LISTS):
            target = os.path.join(CACHE, name)
            if not os.path.lexists(target):
                os.symlink(os.path.join(FONT_LISTS, name), target)
    except OSError:
        pass  # matplotlib then builds its own
