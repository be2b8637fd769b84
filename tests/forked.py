"""Processes for a test to kill, forked from one that has imported what they need: it takes two seconds."""

from __future__ import annotations

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["cdp.app", "cdp.cli", "litestar.testing", "psycopg", "pytest"])
