from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    name = "experiments"

    def ready(self) -> None:
        from controlplane.jobs import kinds
        from experiments.services.evaluations import EVALUATION
        from experiments.services.training import TRAINING

        kinds.register(TRAINING)
        kinds.register(EVALUATION)
