"""The programs: supervise, svscan, svc, svstat and their kin."""
