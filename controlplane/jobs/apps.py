from datetime import timedelta

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "controlplane.jobs"
    label = "jobs"

    def ready(self) -> None:
        """Put this room's own concerns, and the outbox's, on the scheduler's list."""
        from controlplane.core.actor import Actor
        from controlplane.jobs import recovery, ticks
        from controlplane.outbox import services as outbox

        scheduler = Actor.system("scheduler")
        ticks.register("lost jobs", lambda: recovery.take_back_expired(actor=scheduler))
        ticks.register(
            "impossible jobs",
            lambda: recovery.reject_what_never_fits(actor=scheduler),
            every=timedelta(seconds=10),
        )
        ticks.register("waiting jobs", recovery.remind_workers)
        ticks.register("promised tasks", outbox.resend_waiting)
        ticks.register("job folders", recovery.sweep, every=timedelta(minutes=1))
        ticks.register("done tasks", outbox.forget_done, every=timedelta(minutes=10))
