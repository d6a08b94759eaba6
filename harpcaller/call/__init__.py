"""One call to one agent: who is trusted, the connection, the conversation.

Knows nothing of jobs and queues; a call's records go into a sink, its ending comes back.
"""
