"""Models: what hears and what translates, behind one interface."""

import os

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read while huggingface_hub is imported, which happens below
