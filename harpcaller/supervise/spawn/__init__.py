"""The one door through which services and their scripts start."""
