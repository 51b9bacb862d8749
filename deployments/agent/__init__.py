"""The node agent: one per host, without Django.

It reads the routing snapshot, keeps the model workers it names warm, hands it to the gateways of
the host, and carries acknowledgements and captured predictions back to PostgreSQL.
"""
