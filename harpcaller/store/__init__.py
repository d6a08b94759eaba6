"""Jobs on disk: the provider of :class:`~harpcaller.interfaces.IJobStore`.

What is on disk and why is told in ``doc/store``.  This room knows jobs only as facts to
keep and to give back; what the facts mean for queues, calls and followers is no business
of its.  It never decides, retries or ends anything by itself.
"""
