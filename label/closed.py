"""MONAI Label's web application for one machine: other web pages, open in the same browser, cannot read its answers.

MONAI Label itself allows every origin, and starts with no other choice.
"""

from __future__ import annotations

from fastapi.middleware.cors import CORSMiddleware
from monailabel.app import app
from starlette.middleware.trustedhost import TrustedHostMiddleware

app.user_middleware[:] = [middleware for middleware in app.user_middleware if middleware.cls is not CORSMiddleware]
app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
