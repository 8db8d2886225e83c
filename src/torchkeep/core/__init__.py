"""The words and tools that every room shares.

Nothing here knows of any room. The rest of the house speaks in :class:`Finding`, :class:`Rule`,
:class:`Statement` and :class:`Project`; errors are one tree (:mod:`torchkeep.core.errors`).
"""
