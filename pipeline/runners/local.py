"""The needs of a run on this machine: the in-process runner, and workers that suit the cores."""

from __future__ import annotations

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from image_features.transforms.runtime.concurrency import available_cores

# By the name "DirectRunner" Beam would first look for another runner on the network.
IN_PROCESS_RUNNER = "image_features.pipeline.runners.local_runner.LocalRunner"
# An interpreter's lock serves this many cores, each of which takes about a tenth of it
# (docs/performance.md).
CORES_PER_PROCESS = 4


def stay_in_process(beam_options: PipelineOptions) -> bool:
    """Chooses threads instead of processes; returns whether the user has not asked for these."""
    direct = beam_options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_processing":
        return False
    direct.direct_running_mode = "multi_threading"
    return True


def complete_options(beam_options: PipelineOptions) -> int:
    """Fills in the number of a local run's workers; returns how many threads compute in each."""
    beam_options.view_as(StandardOptions).runner = IN_PROCESS_RUNNER
    direct = beam_options.view_as(DirectOptions)
    cores = available_cores()
    if (direct.direct_num_workers, direct.direct_running_mode) == (1, "in_memory"):
        direct.direct_num_workers = max(1, cores // CORES_PER_PROCESS)
        if direct.direct_num_workers > 1:
            direct.direct_running_mode = "multi_processing"
    elif direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_threading"  # The mode in_memory has one worker only.
    if direct.direct_running_mode == "multi_processing":
        # Beam takes 0 workers for one a core.
        return max(1, cores // (direct.direct_num_workers or cores))
    return cores
