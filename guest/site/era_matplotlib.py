"""The matplotlib backend of a session (its kernel sets it): Agg, with show() as a result of the run."""

import builtins

from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase, _Backend
from matplotlib.backends.backend_agg import FigureCanvasAgg

# Bound now: what programs make of the name later is theirs.
_display = vars(builtins)["display"]


@_Backend.export
class _BackendEra(_Backend):
    FigureCanvas = FigureCanvasAgg
    FigureManager = FigureManagerBase

    @staticmethod
    def show(*_args, **_kwargs):
        for manager in Gcf.get_all_fig_managers():
            _display(manager.canvas.figure)
        Gcf.destroy_all()
