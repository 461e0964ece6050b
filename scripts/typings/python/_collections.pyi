from collections import deque as deque, defaultdict as defaultdict, OrderedDict as OrderedDict
