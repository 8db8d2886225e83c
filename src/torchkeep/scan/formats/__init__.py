"""One module for each format, with ``look(job, source, member, depth)``. None runs anything."""
