"""Ray reads its variables when it is imported, so before the tests."""

import os

from agentserve.cluster.deploy import LOOPBACK

os.environ[LOOPBACK] = "0"
