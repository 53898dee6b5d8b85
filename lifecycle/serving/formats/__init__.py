"""The wire formats: how a request's bytes become the model's inputs, and its answers become bytes."""
