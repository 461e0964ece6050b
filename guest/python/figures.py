"""Figures of matplotlib that are open: pyplot knows them by their numbers, also where no variable does."""

import sys

from library_state import origin_of, root_of

PLACES = frozenset(("matplotlib.pyplot:figures.",))
NAME = "matplotlib.pyplot:figures.open"
NAMES = frozenset((NAME,))
AT_REST = ("builtins", "__main__")


def may_use(names, namespace):
    """Whether a program with these names may draw: it uses anything of a library, while pyplot is there."""
    return "matplotlib.pyplot" in sys.modules and any(
        _is_of_library(namespace[name]) for name in names if name in namespace
    )


def _is_of_library(value):
    return type(value) is type(sys) or root_of(origin_of(value)) not in AT_REST


def found(_namespace):
    """Under its name, [(number, figure)], the current one last; nothing when none is open."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    if helpers is None or "matplotlib.pyplot" not in sys.modules or not helpers.Gcf.figs:
        return {}
    return {NAME: [(number, manager.canvas.figure) for number, manager in helpers.Gcf.figs.items()]}


def put(_name, pyplot, figures):
    """Gives them their numbers and order again: loading them has shown each to pyplot, under one that was free."""
    figs = sys.modules["matplotlib._pylab_helpers"].Gcf.figs
    ours = [figure for _, figure in figures]
    others = [manager for manager in figs.values() if not any(manager.canvas.figure is figure for figure in ours)]
    figs.clear()
    for manager in others:
        figs[manager.num] = manager
    for number, figure in figures:
        manager = figure.canvas.manager or pyplot._get_backend_mod().new_figure_manager_given_figure(number, figure)
        manager.num = figure.number = number
        figs[number] = manager
