from .backend_bases import FigureManagerBase

class Gcf:
    @classmethod
    def get_all_fig_managers(cls) -> list[FigureManagerBase]: ...
    @classmethod
    def destroy_all(cls) -> None: ...
