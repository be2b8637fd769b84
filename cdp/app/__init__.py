"""The composition root: the only place where concrete parts are chosen.

``setup`` prepares an empty data directory, which ``lost`` tells from one that lost its database; ``wiring``
opens the stores, checks that the schema is current and puts the stages together; ``schedule`` says what runs
beside them, and how often; ``serving`` makes the HTTP application around it all.
"""

from cdp.app.intake import consuming
from cdp.app.lost import check_made
from cdp.app.parts import stream_at
from cdp.app.schedule import KEYS_SECONDS, mirror_task
from cdp.app.serving import application, create
from cdp.app.setup import OPERATOR_FILE, begin_anew, establish, initialise, move_root, replay
from cdp.app.wiring import SEGMENTATION, Platform, build
from cdp.beside import calm_collector, configure_logging

__all__ = [
    "KEYS_SECONDS",
    "OPERATOR_FILE",
    "SEGMENTATION",
    "Platform",
    "application",
    "begin_anew",
    "build",
    "calm_collector",
    "check_made",
    "configure_logging",
    "consuming",
    "create",
    "establish",
    "initialise",
    "mirror_task",
    "move_root",
    "replay",
    "stream_at",
]
