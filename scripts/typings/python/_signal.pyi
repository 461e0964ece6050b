from signal import *
from signal import Handlers as Handlers, Signals as Signals
