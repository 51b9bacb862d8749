"""Words shared by every app: actors, errors, states, events, canonical JSON, time. No models."""
