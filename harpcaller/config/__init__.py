"""From configuration files to frozen settings.

Every default is here, and every mistake of a file is told at once, with its line.  Nothing
here opens what the settings name; the room that uses a file checks it.
"""
