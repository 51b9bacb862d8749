"""The named queues of jobs, and what each is for."""

CPU, GPU, EVALUATION = "cpu", "gpu", "evaluation"
PROMOTION, DEFAULT = "promotion", "default"

# Jobs run for minutes or hours; the other two carry short tasks of the product itself.
OF_JOBS = (CPU, GPU, EVALUATION)
ALL = (*OF_JOBS, PROMOTION, DEFAULT)
