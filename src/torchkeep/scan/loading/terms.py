"""What a guard lets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchkeep.scan.pickle.policy import Policy, Tier, of


@dataclass(frozen=True, slots=True)
class Terms:
    """What a guard lets through.

    Attributes:
        tier: How much of a model may lie in a pickle.
        allowed: Names that are allowed beside those of the tier.
        hub: Whether ``torch.hub`` may run the code of a repository.
    """

    tier: Tier
    allowed: Policy
    hub: bool

    @property
    def policy(self) -> Policy:
        """What a pickle may look up."""
        return {**of(self.tier), **self.allowed}


def agreed(guards: Sequence[Terms]) -> Terms:
    """What every one of several guards lets through."""
    if len(guards) == 1:
        return guards[0]
    strict = Tier.WEIGHTS if any(one.tier is Tier.WEIGHTS for one in guards) else Tier.MODULE
    base = of(strict)
    first, *others = (one.policy for one in guards)
    allowed = {
        name: grant
        for name, grant in first.items()
        if base.get(name) != grant and all(policy.get(name) == grant for policy in others)
    }
    return Terms(strict, allowed, all(one.hub for one in guards))
