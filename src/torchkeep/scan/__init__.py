"""Is this model file safe to load? Answered from bytes alone; nothing in a file is executed.

What stands: the kind of a file by its content (:mod:`torchkeep.scan.sniff`), and the rule that
weights should lie in a format that cannot run code.
"""

from torchkeep.scan.sniff import Kind, kinds

__all__ = ["Kind", "kinds"]
