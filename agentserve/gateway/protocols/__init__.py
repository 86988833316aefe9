"""The protocols that the gateway speaks, by their paths."""

from __future__ import annotations

from collections.abc import Mapping

from agentserve.gateway.protocols.anthropic_messages import Messages
from agentserve.gateway.protocols.base import WireProtocol
from agentserve.gateway.protocols.openai_chat import Chat, Completions
from agentserve.gateway.protocols.openai_responses import Responses

PROTOCOLS: Mapping[str, WireProtocol] = {
    protocol.path: protocol for protocol in (Chat(), Completions(), Responses(), Messages())
}


def protocol_of(path: str) -> WireProtocol:
    """The protocol in whose shape a path's errors are: Anthropic's below its own path, else OpenAI's."""
    messages = PROTOCOLS[Messages.path]
    if path == messages.path or path.startswith(f"{messages.path}/"):
        return messages
    return PROTOCOLS.get(path, PROTOCOLS[Chat.path])
