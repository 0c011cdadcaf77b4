"""The work of `bench/flower_work.py` as a Flower user would write it: `python flower_app.py [--bare]`.

Runs in an environment of Flower's own, BENCH_WORK naming the folder of the work, and imports nothing of ours. With
--bare the same training functions run in one loop, one client after the other, without any framework. Prints one JSON
object: seconds of each round, accuracy of the global model on the common test after each.
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np
from flower_training import WORK, common_accuracy, first_tensors, own_accuracy, train


def bare() -> dict[str, Any]:
    tensors, seconds, reached = first_tensors(), [], []
    for number in range(WORK["rounds"]):
        began = time.perf_counter()
        sums, total = [np.zeros(each.shape, np.float64) for each in tensors], 0
        for client in range(WORK["clients"]):
            trained, count = train(client, number, tensors)
            total += count
            for into, each in zip(sums, trained, strict=True):
                into += count * each.astype(np.float64)
        tensors = [(each / total).astype(np.float32) for each in sums]
        reached.append(common_accuracy(tensors))
        if WORK["own_tests"]:
            for client in range(WORK["clients"]):
                own_accuracy(client, tensors)
        seconds.append(time.perf_counter() - began)
    return {"round_s": seconds, "accuracy": reached}


def flower() -> dict[str, Any]:
    import flwr
    from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    clients, server = ClientApp(), ServerApp()
    reached: list[float] = []
    ended: list[float] = []

    @clients.train()
    def _train(message: Message, context: Context) -> Message:
        number = int(message.content["config"]["server-round"]) - 1
        client = int(context.node_config["partition-id"])
        trained, count = train(client, number, message.content["arrays"].to_numpy_ndarrays())
        content = {"arrays": ArrayRecord(trained), "metrics": MetricRecord({"num-examples": count})}
        return Message(RecordDict(content), reply_to=message)

    @clients.evaluate()
    def _evaluate(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        reached_own = own_accuracy(client, message.content["arrays"].to_numpy_ndarrays())
        metrics = MetricRecord({"num-examples": WORK["epochs"], "accuracy": reached_own})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def _central(number: int, arrays: ArrayRecord) -> MetricRecord:
        tested = common_accuracy(arrays.to_numpy_ndarrays())
        ended.append(time.perf_counter())
        reached.append(tested)
        return MetricRecord({"accuracy": tested})

    @server.main()
    def _main(grid: Grid, context: Context) -> None:
        count = WORK["clients"]
        strategy = FedAvg(
            fraction_evaluate=1.0 if WORK["own_tests"] else 0.0,
            min_evaluate_nodes=count if WORK["own_tests"] else 0,
            min_train_nodes=count,
            min_available_nodes=count,
        )
        strategy.start(
            grid,
            ArrayRecord(first_tensors()),
            num_rounds=WORK["rounds"],
            train_config=ConfigRecord({}),
            evaluate_fn=_central,
        )

    resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, clients, num_supernodes=WORK["clients"], backend_config=resources)
    # The model is tested before the first round and after each.
    seconds = [after - before for before, after in pairwise(ended)]
    return {"round_s": seconds, "accuracy": reached[1:], "version": flwr.__version__}


if __name__ == "__main__":
    print(json.dumps(bare() if "--bare" in sys.argv[1:] else flower()))
