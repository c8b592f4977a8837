"""Settings of S3-compatible stores by name, from the config file and the environment; secrets are in neither place.

    stores:
      r2:
        endpoint: https://ACCOUNT.r2.cloudflarestorage.com
        region: auto

`s3://r2@bucket/key` then goes there. `BEAM_PIPELINE_STORE_R2_ENDPOINT` (and so on) wins over the file. A profile's
keys come from `BEAM_PIPELINE_STORE_R2_ACCESS_KEY_ID` and `..._SECRET_ACCESS_KEY`, else from the profile of that name
in AWS's own files. Plain `s3://bucket/key` is the profile without a name: everything as boto3 finds it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

from transforms.storage.secrets import secret

VARIABLE = "BEAM_PIPELINE_STORE_"
SECRETS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")


@dataclasses.dataclass(frozen=True)
class S3Profile:
    """Where an S3-compatible store is and how patient to be with it. Pickled into workers; holds no secret."""

    name: str = ""
    endpoint: str = ""  # "" is what boto3 finds, AWS if nothing
    region: str = ""
    addressing: str = "auto"  # or "path", "virtual"
    # to connect, and without a byte; four attempts stay below --decode_timeout_s
    timeout_s: float = 20.0
    attempts: int = 4

    def __post_init__(self) -> None:
        if "@" in self.endpoint or "?" in self.endpoint:
            raise ValueError(f"stores: {self.name}: the endpoint must hold no password and no query")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"stores: {self.name}: the endpoint must start with https:// or http://")
        if self.addressing not in ("auto", "path", "virtual"):
            raise ValueError(f"stores: {self.name}: addressing is auto, path or virtual")
        if self.timeout_s <= 0 or self.attempts < 1:
            raise ValueError(f"stores: {self.name}: timeout_s must be above 0, attempts at least 1")

    def variable(self, setting: str) -> str:
        """The environment variable of one of the profile's settings."""
        return f"{VARIABLE}{re.sub(r'[^A-Za-z0-9]', '_', self.name).upper()}_{setting}"

    def credentials(self, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """boto3's arguments for the keys that the environment holds for this profile; {} leaves it to boto3."""
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        found = {name: secret(self.variable(key), environment) for name, key in zip(names, SECRETS, strict=True)}
        return {name: value for name, value in found.items() if value} if self.name else {}


def read_profiles(section: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> tuple[S3Profile, ...]:
    """The profiles of the config file's `stores:`, and those that the environment alone gives an endpoint for.

    Raises:
        ValueError: a setting is unknown, cannot be, or is a secret.
    """
    fields = {field.name: field for field in dataclasses.fields(S3Profile) if field.name != "name"}
    ending = f"{VARIABLE}(.+)_ENDPOINT"
    named = {found[1].lower() for found in map(re.compile(ending).fullmatch, environment) if found}
    known = {S3Profile(name).variable("") for name in section}
    profiles = []
    for name in [*section, *sorted(name for name in named if S3Profile(name).variable("") not in known)]:
        settings = dict(section.get(name) or {})
        if secret := next((key for key in settings if key.upper() in SECRETS or "secret" in key.lower()), None):
            raise ValueError(
                f"stores: {name}: {secret} is a secret: put it into {S3Profile(name).variable(secret.upper())}"
            )
        if unknown := set(settings) - set(fields):
            raise ValueError(f"stores: {name}: unknown setting {min(unknown)}; there are {', '.join(fields)}")
        settings |= {
            key: environment[variable]
            for key in fields
            if (variable := S3Profile(name).variable(key.upper())) in environment
        }
        kinds = {"timeout_s": float, "attempts": int}
        profiles.append(S3Profile(name, **{key: kinds.get(key, str)(value) for key, value in settings.items()}))
    return tuple(profiles)
