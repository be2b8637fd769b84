"""``python -m cdp``."""

from __future__ import annotations

from cdp.cli import main

if __name__ == "__main__":
    main()
