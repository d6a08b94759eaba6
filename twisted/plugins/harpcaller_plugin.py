"""``twistd harpcaller`` and ``twistd harpd``."""

from twisted.application.service import ServiceMaker

harpcaller = ServiceMaker(
    "harpcaller",
    "harpcaller.service.dispatcher_service",
    "Dispatches calls to agents, and keeps every result.",
    "harpcaller",
)
harpd = ServiceMaker(
    "harpd",
    "harpcaller.service.agent_service",
    "Runs the procedures of this host when they are called.",
    "harpd",
)
