"""TAI64N labels, and the filters that put them before lines and read them again."""
