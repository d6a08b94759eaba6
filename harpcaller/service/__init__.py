"""Assembly: the only room that knows concrete classes of two others, and the reactor."""
