"""A search on a real Ray cluster of two nodes, one of whose workers is killed."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.clusters import processes
from ray.cluster_utils import Cluster

from dimstream_models.training.errors import SearchError
from dimstream_models.training.search.protocol import search
from dimstream_models.training.search.ray_cluster import RayCluster
from dimstream_models.training.search.study import read_trials
from dimstream_models.training.search.workers import Job
from dimstream_models.training.settings import Recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and one more node, one core each; both are gone at the end."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()
        assert not _at_work()


def _at_work() -> list[int]:
    return processes("ray::_run")


def test_trials_run_on_both_nodes_and_one_whose_worker_dies_is_tried_again(
    cluster: Cluster, tiny_search: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    killed: list[int] = []
    over = threading.Event()

    def kill_one() -> None:
        """Kill a worker at the first checkpoint of a trial, however slow the machine."""
        while not over.wait(0.01) and not killed:
            workers = _at_work()
            if workers and list(tmp_path.glob("trials/*/last.pt")):
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])

    killer = threading.Thread(target=kill_one)
    killer.start()
    lines: list[str] = []
    long = {"epochs": 40}  # so that the first trial still runs when its checkpoint has been seen
    recipe = tiny_search.model_copy(
        update={
            "search": tiny_search.search.model_copy(update={"trials": 2, "best": 1, **long}),
            "fit": tiny_search.fit.model_copy(update=long),
        }
    )
    try:
        results = search(recipe, tmp_path, workers=RayCluster(cluster.address), tell=lines.append)
    finally:
        over.set()
        killer.join()
    assert killed
    assert len(lines) == 3
    assert len(results.screened) == len(read_trials(tmp_path)) == 2
    assert all(run.score is not None for run in (*results.screened, *results.retrained))
    told = capfd.readouterr()
    assert "fit" not in told.out + told.err  # workers draw no progress bars over the driver's lines


def test_a_bug_or_bad_data_in_a_worker_stop_the_search_with_their_error(
    cluster: Cluster, tiny_search: Recipe, tmp_path: Path
) -> None:
    with RayCluster(cluster.address) as workers:
        workers.start(Job("lost", tiny_search, tmp_path / "study" / "trials" / "lost"))
        with pytest.raises(
            SearchError, match=r"study's folder .*study on every machine of the cluster: share it"
        ):
            workers.wait()
        assert workers.wait() is None


def test_a_cluster_that_is_not_there_or_has_no_gpu_is_refused(cluster: Cluster) -> None:
    with pytest.raises(SearchError, match="with a GPU for each trial"):
        RayCluster(cluster.address, device="cuda")
    with pytest.raises(SearchError, match="expected a Ray cluster at"):
        RayCluster("no address at all")
