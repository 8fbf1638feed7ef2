"""What a TrainJob is about, printed by the stage that waits for it: Kubeflow shows and keeps it as the stage's own log."""

import threading
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient
    from kubeflow.trainer.types.types import TrainJob

FIRST_NODE = "node-0"
"""Step of a TrainJob whose log is printed; the other pods leave their errors in the job's folder."""

_ENDED = ("Succeeded", "Failed")


class LogPrinter:
    """Prints the states of a TrainJob's pods as they change, and the log of the first one while it grows.

    A thread follows the log. A connection that breaks off is taken up again where it was, and a pod that replaces another is
    followed from its beginning.

    Args:
        client: Of the cluster.
        name: Name of the TrainJob.
    """

    def __init__(self, client: "TrainerClient", name: str) -> None:
        self._client, self._name = client, name
        self._states = ""
        self._num_printed: dict[str, int] = {}
        self._is_read: set[str] = set()
        self._complaints: set[str] = set()
        self._thread: threading.Thread | None = None

    def follow(self, trainjob: "TrainJob") -> None:
        """Print what has become of the pods, and follow the first one's log unless that is being done already."""
        states = ", ".join(f"{step.name} {step.status}" for step in trainjob.steps) or "no pod yet"
        if states != self._states:
            print(f"TrainJob {self._name}: {states}", flush=True)
            self._states = states
        step = next((step for step in trainjob.steps if step.name == FIRST_NODE), None)
        if step is None or step.status == "Pending" or step.pod_name in self._is_read or self._is_following:
            return
        target = (step.pod_name, step.status in _ENDED)
        self._thread = threading.Thread(target=self._print, args=target, name="trainjob-log", daemon=True)
        self._thread.start()

    def finish(self, patience_seconds: float = 30.0) -> None:
        """Wait for what is still to be printed."""
        if self._thread is not None:
            self._thread.join(patience_seconds)

    @property
    def _is_following(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _print(self, pod: str, has_ended: bool) -> None:
        try:
            lines = self._client.get_job_logs(self._name, step=FIRST_NODE, follow=True)
            for line in islice(lines, self._num_printed.get(pod, 0), None):
                print(line, flush=True)
                self._num_printed[pod] = self._num_printed.get(pod, 0) + 1
        except (RuntimeError, OSError) as error:
            # The next look at the TrainJob takes it up again; what stands in the way is said once.
            if str(error) not in self._complaints:
                self._complaints.add(str(error))
                print(f"{error}: {error.__cause__}", flush=True)
            return
        if has_ended:
            self._is_read.add(pod)
