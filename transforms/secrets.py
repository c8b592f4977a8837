"""Secrets, by the environment variable that holds them or says where they are kept.

    OPENAI_API_KEY=sk-…                                        the secret itself
    OPENAI_API_KEY=projects/my-project/secrets/openai-key      its name in Google's Secret Manager

A name is none, so it may stand in an image or a manifest; the secret is read where it is used, and kept nowhere.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import Any

KEPT = re.compile(r"projects/[\w.:-]+/secrets/[\w-]+(/versions/\w+)?")
ASK_S = 20.0


class SecretError(OSError):
    """A secret cannot be read; the message says which, and what to do."""


def secret(variable: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The secret of that variable, None where it is not set.

    Raises:
        SecretError: it is kept in Secret Manager, which does not give it.
    """
    value = (os.environ if environment is None else environment).get(variable)
    if not value or not KEPT.fullmatch(value):
        return value
    return _kept(value if "/versions/" in value else f"{value}/versions/latest", variable)


@functools.cache
def _kept(name: str, variable: str) -> str:
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        answer = _manager().access_secret_version(name=name, timeout=ASK_S)
    except ImportError as error:
        raise SecretError(f"{variable} names a secret: pip install 'beam-pipeline[dataflow]'") from error
    except (GoogleAPIError, GoogleAuthError) as error:
        raise SecretError(
            f"{variable} names {name}, which cannot be read: the service account of whoever runs this needs "
            f"roles/secretmanager.secretAccessor on it ({error})"
        ) from error
    return answer.payload.data.decode().strip()


def _manager() -> Any:
    from google.cloud import secretmanager

    return secretmanager.SecretManagerServiceClient()
