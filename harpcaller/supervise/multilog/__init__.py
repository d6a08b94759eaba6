"""daemontools' multilog: lines sorted by patterns into log directories that rotate.

============== ==============================================================================
``script``     PURE: what the arguments ask for
``selector``   PURE: which lines an action gets
``lines``      PURE: what was read, cut into what can be judged
``rotation``   PURE: when a file is full, which old ones go, how a directory is taken over
``steps``      work that may have to wait, without waiting itself
``directory``  a log directory on disk: taken over, written, rotated, closed
``processor``  starts the command that old files are passed through
``log``        a whole script, fed with bytes; never sleeps, so an event loop can use it
``command``    the tool: reads standard input, heeds signals, sleeps
============== ==============================================================================

Others can use a part: ``directory`` with ``rotation`` keeps files that rotate, of whatever lines
come.
"""
