"""What handlers are given by name: the services, and who is calling."""

from __future__ import annotations

from typing import TypeAlias

from litestar.di import NamedDependency
from litestar.params import FromQuery, SkipValidation

from cdp.api.auth import Caller, Denials
from cdp.api.services import Services

InjectedServices: TypeAlias = NamedDependency[SkipValidation[Services]]
InjectedCaller: TypeAlias = NamedDependency[SkipValidation[Caller]]
InjectedDenials: TypeAlias = NamedDependency[SkipValidation[Denials]]
Limit: TypeAlias = FromQuery[int]
Cursor: TypeAlias = FromQuery[str | None]
