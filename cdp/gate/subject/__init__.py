"""One person's own data, decided and opened for that person; and where it went."""

from cdp.gate.subject.disclose import Answer, HeldEvent, HeldTrait, Subject
from cdp.gate.subject.queries import Delivered, delivered_of

__all__ = ["Answer", "Delivered", "HeldEvent", "HeldTrait", "Subject", "delivered_of"]
