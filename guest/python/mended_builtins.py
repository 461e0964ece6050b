"""The interpreter's own builtins, while something runs that relies on them."""

import builtins

BUILTINS = dict(vars(builtins))


class MendedBuiltins:
    """A program may have replaced some, which the modules that saving imports rely on: not while it saves."""

    def __init__(self):
        self.theirs = builtins.__dict__  # what programs see

    def __enter__(self):
        self.theirs = dict(builtins.__dict__)
        builtins.__dict__.update(BUILTINS)

    def __exit__(self, *_error):
        builtins.__dict__.clear()
        builtins.__dict__.update(self.theirs)
        self.theirs = builtins.__dict__
