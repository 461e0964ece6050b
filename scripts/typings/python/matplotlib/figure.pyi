from typing import IO

class Figure:
    def savefig(self, fname: IO[bytes], *, format: str, bbox_inches: str) -> None: ...
