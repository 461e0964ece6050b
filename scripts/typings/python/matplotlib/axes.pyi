from .figure import Figure

class Axes:
    def get_figure(self) -> Figure | None: ...
