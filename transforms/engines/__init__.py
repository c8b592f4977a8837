"""Speech models: one file an engine, behind the protocol in protocol.py."""

import os

# read while huggingface_hub is imported, which happens below
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
