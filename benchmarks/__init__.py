"""How fast, how big: measured against what TLS alone costs, in the same run."""
