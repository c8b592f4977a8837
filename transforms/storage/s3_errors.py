"""What boto3 raises, as errors of the stores' protocol: what happened and what to do, and nothing secret."""

from __future__ import annotations

import errno
import os
import urllib.parse

from botocore import exceptions
from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from transforms.storage.profiles import S3Profile
from transforms.storage.protocol import StorageError, changed
from transforms.storage.secrets import redacted

SHOWN = 200  # characters of what a store says
LONGEST_CODE = 60
NO_KEYS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
    exceptions.LoginError,
    exceptions.TokenRetrievalError,
)
REFUSED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}  # 400, the others are 403
UNREACHED = (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.IncompleteReadError, HTTPError)
NAMES_THAT_CANNOT_BE = {"KeyTooLongError", "XMinioInvalidObjectName"}


class NotImplementedHereError(StorageError):
    """The store does not know this request."""


def failure(error: Exception, uri: str, bucket: str, profile: S3Profile) -> OSError:
    """What to raise for an error of boto3: what happened and what to do, without keys, headers and signatures."""
    if isinstance(error, NO_KEYS):
        return PermissionError(f"{uri}: no keys for the store were found ({_kind(error)}): {keys_hint(profile)}")
    if isinstance(error, UNREACHED):
        url = getattr(error, "kwargs", {}).get("endpoint_url") or profile.endpoint
        host = urllib.parse.urlsplit(str(url)).hostname or "the store"
        return StorageError(f"{uri}: {host} cannot be reached ({_kind(error)}): check the network and the endpoint")
    if isinstance(error, exceptions.ParamValidationError):  # its message has many lines
        return StorageError(f"{uri}: no bucket, or no object in it, can have this name")
    if not isinstance(error, ClientError):
        return StorageError(f"{uri}: {redacted(error)}")
    status, code = status_of(error), redacted(error.response["Error"].get("Code", ""), LONGEST_CODE)
    says = f"the store answered {status} {code}".rstrip()
    if code == "NoSuchBucket":
        return StorageError(f"{uri}: there is no bucket {bucket}: create it, or check its name and the endpoint")
    if status == 404:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    if status in (412, 416):
        return changed(uri)
    if status in (401, 403) or code in REFUSED:
        return PermissionError(f"{uri}: {says}: {_remedy(code, profile)}")
    if status == 501:
        return NotImplementedHereError(f"{uri}: {says}")
    says = f"{says}: {redacted(error.response['Error'].get('Message', ''), SHOWN)}"
    if code in NAMES_THAT_CANNOT_BE:
        return StorageError(errno.EINVAL, says, uri)
    return StorageError(f"{uri}: {says}")


def _remedy(code: str, profile: S3Profile) -> str:
    if code == "RequestTimeTooSkewed":
        return "set the clock of this machine"
    if code == "AccessDenied":
        return f"give the keys the right to do this, or take others: {keys_hint(profile)}"
    return f"the keys are wrong or have expired: {keys_hint(profile)}"


def keys_hint(profile: S3Profile) -> str:
    """Where the keys of the profile may stand."""
    if not profile.name:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run `aws configure`, or give the machine a role"
    variables = f"{profile.variable('ACCESS_KEY_ID')} and {profile.variable('SECRET_ACCESS_KEY')}"
    return f"set {variables}, or run `aws configure --profile {profile.name}`"


def _kind(error: Exception) -> str:
    return type(error).__name__


def status_of(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
