"""The files that tell who is believed, read as the settings say: agents, clients, ourselves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import attrs
from OpenSSL import SSL

from harpcaller.call.context import AgentContext, Identity, UnusableIdentity
from harpcaller.call.trust import load_trust
from harpcaller.config.access import Door
from harpcaller.config.dispatcher import Settings
from harpcaller.config.guarded import Guarded, judged
from harpcaller.config.problems import ConfigurationError, Problem
from harpcaller.config.tokens import BadTokens, Tokens
from harpcaller.listener.gate import Access
from harpcaller.listener.rules import Rules
from harpcaller.service.server_tls import NotUsable, load_context

_Part = TypeVar("_Part")


@attrs.frozen
class Trusted:
    """What the files say.

    Attributes:
        agents: Which agents are believed, and what they are shown.
        clients: Which clients are known, and what they may do.
        tls: How each port with TLS greets its clients.
        warnings: What is odd about the files.
    """

    agents: AgentContext
    clients: Access
    tls: Mapping[Door, SSL.Context]
    warnings: tuple[Problem, ...] = ()


def trusted_by(settings: Settings) -> Trusted:
    """Read the files.

    Raises:
        ConfigurationError: Some can't be used; names every one.
    """
    guarded = judged(_files(settings), os.geteuid())
    problems = list(guarded.problems)

    def read(part: Callable[[Settings], _Part]) -> _Part | None:
        try:
            return part(settings)
        except ConfigurationError as error:
            problems.extend(error.problems)
            return None

    agents, clients, tls = read(_agents), read(_clients), read(_contexts)
    if problems or agents is None or clients is None or tls is None:
        raise ConfigurationError(problems)
    return Trusted(agents, clients, tls, guarded.warnings)


def _files(settings: Settings) -> Iterator[Guarded]:
    yield Guarded(Path(settings.source.file))
    yield Guarded(settings.host_db_script)
    yield Guarded(settings.host_db, secret=True)
    yield Guarded(settings.ca_file)
    yield Guarded(settings.known_certs_file)
    yield Guarded(settings.cert_file)
    yield Guarded(settings.key_file, secret=True)
    yield Guarded(settings.tokens_file)
    yield Guarded(settings.stream_directory)
    for door in settings.listener:
        yield Guarded(door.cert_file)
        yield Guarded(door.key_file, secret=True)
        yield Guarded(door.client_ca_file)


def _agents(settings: Settings) -> AgentContext:
    def path(of: Path | None) -> str | None:
        return None if of is None else str(of)

    trust = load_trust(
        path(settings.ca_file),
        path(settings.known_certs_file),
        settings.verify_hostname,
        lambda name: Path(name).read_bytes(),
    )
    if settings.cert_file is None or settings.key_file is None:
        return AgentContext(trust, time.time)
    identity = Identity(_content("cert_file", settings), _content("key_file", settings))
    try:
        return AgentContext(trust, time.time, identity)
    except UnusableIdentity as error:
        key, _, message = str(error).partition(": ")
        raise ConfigurationError([settings.source.problem((key,), message)]) from None


def _content(key: str, settings: Settings) -> bytes:
    file: Path = getattr(settings, key)
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"{file}: {error.strerror}"
        raise ConfigurationError([settings.source.problem((key,), message)]) from None


def _clients(settings: Settings) -> Access:
    return Access(_tokens(settings), Rules(settings.allow))


def _tokens(settings: Settings) -> Tokens:
    if settings.tokens_file is None:
        return Tokens()
    file = str(settings.tokens_file)
    try:
        return Tokens(settings.tokens_file.read_text("utf-8"))
    except OSError as error:
        problem = Problem(file, None, f"can't be read: {error.strerror}")
    except UnicodeDecodeError:
        problem = Problem(file, None, "not UTF-8")
    except BadTokens as error:
        problem = Problem(file, error.line, str(error))
    raise ConfigurationError([problem])


def _contexts(settings: Settings) -> Mapping[Door, SSL.Context]:
    contexts = {}
    problems = []
    for index, door in enumerate(settings.listener):
        if door.cert_file is not None and door.key_file is not None:
            authorities = None if door.client_ca_file is None else str(door.client_ca_file)
            try:
                contexts[door] = load_context(str(door.cert_file), str(door.key_file), authorities)
            except NotUsable as error:
                problems.append(settings.source.problem(("listener", index), str(error)))
    if problems:
        raise ConfigurationError(problems)
    return contexts
