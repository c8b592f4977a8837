"""Running on this machine, without Prism.

Beam's own DirectRunner first tries to download the Prism binary, which hangs behind a silent firewall, and its
FnApiRunner by name gives no options to workers in other processes. This one is FnApiRunner with the options.
"""

from __future__ import annotations

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle

NAMES = ("directrunner", "switchingdirectrunner", "direct", "")  # in lower case


def direct_runner(options: PipelineOptions) -> fn_runner.FnApiRunner:
    """The runner of `--runner=DirectRunner`."""
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    info = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(info))
