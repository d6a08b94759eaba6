"""Every parser of the project under fire: what it is fed, what it may do with it, and the inputs
that once were of interest.

``python -m tests.fuzz`` tells how to hunt; ``test_corpus.py`` feeds each parser what earlier hunts
have found, and some more.
"""
