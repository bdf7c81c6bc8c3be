"""gpu_worker: draws the jobs addressed to it on the ComfyUI beside it, and stores the images.

Consumes: dispatched (its lanes), cancellations and backlogs (all partitions, without a group)
Produces: completed, progress, workers
State: the jobs it holds, and the dispatcher that it is attached to by the partition of ``workers`` that it reports in;
    gone when it ends, which its next incarnation's reports say
Delivery: ``completed`` is acknowledged before the lane's offset moves; results already stored are sent again unrun
Failures: every failure is a ``completed`` with a stable code that is not final; the dispatcher decides what follows
"""
