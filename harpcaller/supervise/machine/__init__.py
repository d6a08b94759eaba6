"""PURE: the life of one supervised process, and when it may live again."""
