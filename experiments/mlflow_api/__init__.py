"""The door for stock MLflow clients: tracking is MLflow's own, the registry is ours.

``protocol`` answers and refuses in MLflow's JSON, ``registry`` and ``artifacts`` are views over our
records, ``mount`` runs MLflow's tracking handlers behind ``guard``, ``refused`` names what is not
served. Only ``mount`` and ``store`` import mlflow, inside functions.
"""
