from django.apps import AppConfig


class ControlplaneConfig(AppConfig):
    """The roof: loaded last, it joins the apps that do not know each other."""

    name = "controlplane"
    label = "controlplane"

    def ready(self) -> None:
        # Loading the Celery app makes it the current one, whose broker every hint goes to.
        from controlplane import celery, wiring

        celery.app.set_current()
        wiring.join()
