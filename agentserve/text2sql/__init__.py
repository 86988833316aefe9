"""Text-to-SQL on two engines of unequal speed: round robin against agentserve, on the same questions."""
