from django.apps import AppConfig


class ControlplaneConfig(AppConfig):
    """The roof: loaded last, it joins the apps that do not know each other."""

    name = "controlplane"
    label = "controlplane"

    def ready(self) -> None:
        from controlplane import wiring

        wiring.join()
