"""The agent in two processes: one talks with strangers, the other may do something.

The *network process* speaks TLS, reads requests, and is nobody in an empty folder.  The *monitor*
runs as the agent's user, knows who may call, and starts calls.  What one may say to the other is in
:mod:`~harpcaller.agent.separation.table`; when, in
:mod:`~harpcaller.agent.separation.conversation`.

Between them is a Unix socket, the *control socket*, and for each request a *channel*: a pair of
sockets that the network process makes, of which it sends the monitor one.  A request's rights are
its channel's: nothing on the control socket, and nothing on another channel, can use them.
"""
