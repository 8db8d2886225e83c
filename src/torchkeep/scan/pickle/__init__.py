"""What a pickle would do, found by following it without doing it.

:class:`~torchkeep.scan.pickle.machine.Machine` follows one stream,
:mod:`~torchkeep.scan.pickle.policy` says what it may look up and do.
"""
