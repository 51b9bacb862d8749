"""Running Gatehouse on one machine: set-up, embedded servers, processes, `make demo`.

Nothing here knows Django. `bootstrap` runs on the system's Python before anything is installed;
the other modules run in the virtual environment and use the standard library, psycopg and
supervisor only, so that they start fast and survive a broken application.
"""
