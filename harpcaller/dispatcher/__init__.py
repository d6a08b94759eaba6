"""The only room that joins jobs, store, queues, hosts and calls."""
