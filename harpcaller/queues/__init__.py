"""Who may run now.  Knows places and turns, not what a job does with them."""
