"""What an environment asks of a version: parsed from YAML, checked, and never changed."""

from registry.policies.parsing import (
    Gate,
    Guard,
    PolicyBody,
    ReviewSlot,
    Rollout,
    default_source,
    from_json,
    parse,
)

__all__ = [
    "Gate",
    "Guard",
    "PolicyBody",
    "ReviewSlot",
    "Rollout",
    "default_source",
    "from_json",
    "parse",
]
