"""The agent (harpd): procedures of one host, called from afar, a process for each call.

Two kinds of modules live here, and they never mix.  The *server* (``server``, ``calls``,
``locks``, ``running``, ``template_process``, ``library``, ``auth``, ``tls``) runs in the
daemon, on Twisted, and never executes users' code but authentication modules.  The
*process side* (``proc``, ``template``, ``worker``, ``procedures``, ``accounts``, and what
keeps a call's processes together: ``cgroups``, ``keeper``, ``processes``) is the standard
library only, so that a template process has no threads, no TLS and no reactor to be
forked.  ``orders`` and ``signature`` are what both speak.
"""
