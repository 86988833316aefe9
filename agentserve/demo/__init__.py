"""The main job, shown: the same programs straight into stock vLLM, and then through agentserve."""
