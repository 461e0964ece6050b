from .figure import Figure

class FigureCanvasBase:
    figure: Figure

class FigureManagerBase:
    canvas: FigureCanvasBase

class _Backend:
    @staticmethod
    def export(cls: type[_Backend]) -> type[_Backend]: ...
