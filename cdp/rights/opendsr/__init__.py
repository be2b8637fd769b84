"""OpenDSR 2.0, as processor and towards recipients."""
