"""A customer data platform that can prove it asked.

The whole path is one line, and every package below this one is a stage of it:
sources → ingest → identity → profiles → segments → gate → export, with consent, policy and the
audit log beneath. ``cdp/pipeline.py`` shows it on one screen; ``cdp/app/`` is the only place
where concrete parts are chosen.
"""

__version__ = "0.1.0"
