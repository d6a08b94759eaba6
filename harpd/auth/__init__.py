"""The authentication modules that come with the agent."""
