"""Who reacts to which event, and what the scheduler's tick calls: the whole list."""


def join() -> None:
    """Connect listeners to events and concerns to the tick; called once every app is loaded."""
    from datetime import timedelta

    from controlplane.audit import services as audit
    from controlplane.audit import verification
    from controlplane.core.actor import Actor
    from controlplane.core.events import listen
    from controlplane.jobs import ticks
    from deployments.services import rollouts
    from registry.events import PromotionExecuting
    from registry.services import promotions

    listen(PromotionExecuting, rollouts.begin)

    ticks.register("rollouts", lambda: rollouts.tick(actor=Actor.system("rollouts")))
    ticks.register("promotions", lambda: promotions.expire_due(actor=Actor.system("scheduler")))
    ticks.register("refusals", audit.flush_refusals)
    ticks.register("ledger", verification.ask_when_due)
    ticks.register("old answers", _forget_old_answers, every=timedelta(minutes=10))


def _forget_old_answers() -> object:
    # Imported on the tick: it brings the REST framework, 18 MB that most processes never use.
    from controlplane.api import idempotency

    return idempotency.forget_old()
