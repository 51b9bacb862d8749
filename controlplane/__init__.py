"""Roof and cellar of Gatehouse.

The roof (settings, urls, wiring, celery, wsgi) knows every app. The cellar (core, accounts,
audit, access, outbox, workflow, jobs, stats, integrations, api) knows none of them. Import
contracts therefore name the sub-modules, never this package.
"""
