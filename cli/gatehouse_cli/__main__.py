"""``python -m gatehouse_cli`` is ``gatehouse``."""

from gatehouse_cli.main import gatehouse

if __name__ == "__main__":
    gatehouse(prog_name="gatehouse")
