"""Recording operations into traces and running them as XLA programs."""
