"""What of the log goes outside: tiles, proofs as files, bundles, and a witness that countersigns."""

from cdp.audit.outside.bundle import Bundler, Manifest, verifier_sha256
from cdp.audit.outside.public import Public
from cdp.audit.outside.queries import WitnessState
from cdp.audit.outside.tiles import parse_tile, tile_path, tile_paths
from cdp.audit.outside.witness import Witness, WitnessAt, open_witness, witness_state

__all__ = [
    "Bundler",
    "Manifest",
    "Public",
    "Witness",
    "WitnessAt",
    "WitnessState",
    "open_witness",
    "parse_tile",
    "tile_path",
    "tile_paths",
    "verifier_sha256",
    "witness_state",
]
