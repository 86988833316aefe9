"""mini-swe-agent (LiteLLM) with two commands, which nobody runs. Arguments: base URL, model."""

import sys
from typing import Any

from minisweagent.agents.default import DefaultAgent
from minisweagent.exceptions import Submitted
from minisweagent.models.litellm_textbased_model import LitellmTextbasedModel

COMMAND = "```bash\n(ls src|wc a)\n```"
"""What the engine lets the model say, which is too small for more."""


class NoEnvironment:
    """Answers every command, and ends the run with the second."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def execute(self, action: dict[str, Any], cwd: str = "") -> dict[str, Any]:
        self.commands.append(action["command"])
        if len(self.commands) == 2:
            raise Submitted({"role": "exit", "content": "", "extra": {"exit_status": "Submitted", "submission": ""}})
        return {"output": "a", "returncode": 0, "exception_info": ""}

    def get_template_vars(self, **variables: Any) -> dict[str, Any]:
        return variables

    def serialize(self) -> dict[str, Any]:
        return {}


def main(base_url: str, model: str) -> None:
    chat = LitellmTextbasedModel(
        model_name=f"openai/{model}",
        cost_tracking="ignore_errors",
        action_regex=r"```bash\s*\n(.*?)\n```",
        model_kwargs={
            "api_base": base_url,
            "api_key": "none",
            "max_tokens": 48,
            "temperature": 0,
            "extra_body": {"structured_outputs": {"regex": COMMAND}},
        },
    )
    agent = DefaultAgent(
        chat, NoEnvironment(), system_template="You run commands.", instance_template="{{task}}", step_limit=3
    )
    assert agent.run("How long are the files in src?")["exit_status"] == "Submitted"


main(*sys.argv[1:])
