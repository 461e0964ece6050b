"""
What the agent is doing, as one of nine phases. Every move is in the table; one that is not is a fault of the agent's.
"""

MOVES = {
    "starting": ("idle",),  # its first kernel is not ready yet
    "idle": ("running", "saving", "leaving", "rolling_back", "moving_in", "frozen"),
    "running": ("idle", "mending"),
    "mending": ("idle",),  # the run's kernel has died: its end is told when the next one is ready
    # Everything, because a server asked for it. Another server need not wait for what an earlier one has asked.
    "saving": ("idle", "running", "rolling_back", "frozen"),
    "leaving": ("saving", "idle"),  # it saves for the last time: nobody came
    "rolling_back": ("idle",),
    "moving_in": ("idle",),  # a session has moved into the folders: its state is taken up
    "frozen": ("idle",),  # all other processes stand still
}


class Phase:
    def __init__(self):
        self.name = "starting"

    def move(self, name):
        if name not in MOVES[self.name]:
            raise RuntimeError(f"the agent cannot go from {self.name!r} to {name!r}")
        self.name = name

    def end(self, name):
        """Back to idle, if that is what it was doing. Answers whether it was."""
        if self.name != name:
            return False
        self.move("idle")
        return True

    def __eq__(self, name):
        return self.name == name

    __hash__ = None  # pyright: ignore[reportAssignmentType]  it compares as its name, and changes
