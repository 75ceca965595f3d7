"""What a run on this machine needs: the in-process runner, and workers that suit the cores."""

from __future__ import annotations

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from image_features.transforms.runtime.concurrency import available_cores

# "DirectRunner" would first look for another runner on the network, which this name does not.
IN_PROCESS_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
# One interpreter's lock serves so many cores: each needs about a tenth of it (docs/performance.md).
CORES_PER_PROCESS = 4


def settle(beam_options: PipelineOptions) -> int:
    """Fills in how many workers a local run has; returns how many threads compute in each."""
    beam_options.view_as(StandardOptions).runner = IN_PROCESS_RUNNER
    direct = beam_options.view_as(DirectOptions)
    cores = available_cores()
    if (direct.direct_num_workers, direct.direct_running_mode) == (1, "in_memory"):
        direct.direct_num_workers = max(1, cores // CORES_PER_PROCESS)
        if direct.direct_num_workers > 1:
            direct.direct_running_mode = "multi_processing"
    elif direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_threading"  # In memory there is one worker only.
    if direct.direct_running_mode == "multi_processing":
        # To Beam, 0 workers mean one a core.
        return max(1, cores // (direct.direct_num_workers or cores))
    return cores
