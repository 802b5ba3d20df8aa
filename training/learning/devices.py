"""Which devices a run uses: one CPU or GPU, all GPUs of a machine, or several machines.

The same code runs on all of them; the strategy is read off the machine, and off TF_CONFIG, which is
TensorFlow's own way of describing a cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import keras
import tensorflow as tf

logger = logging.getLogger(__name__)


def prepare(seed: int) -> tf.distribute.Strategy:
    """Sets up devices before the first operation: memory growth, determinism, seeds, strategy.

    Determinism costs nothing that could be measured on CPU with the default architecture (3.8 s an
    epoch with it, 4.2 s without, in one run), so it is always on.

    Returns:
        MultiWorkerMirroredStrategy where TF_CONFIG names a cluster, MirroredStrategy where there
        are several GPUs (or logical CPUs), else TensorFlow's default strategy.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # without it the first operation takes nearly all of the GPU's memory
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    strategy, reason = _strategy(gpus)
    logger.info("device=%s (%s)", "gpu" if gpus else "cpu", reason)
    return strategy


def distributed(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> Iterable:
    """Batches, each shared out among all devices: of n, device i takes images i, i + n, i + 2n, ...

    Every machine reads all batches and keeps its devices' shares. TensorFlow would share a dataset
    out by itself, but by rewriting its graph, which took 25 s an epoch with our decoder. A batch of
    fewer images than devices is left out: batch normalisation of no image is not a number.

    Args:
        strategy: as `prepare` gives it.
        batches: (images [B, ...], targets [B, ...]), the same on all machines.

    Returns:
        What to iterate over; its elements are what strategy.run() takes.
    """

    def of_machine(context: tf.distribute.InputContext) -> tf.data.Dataset:
        devices = context.num_replicas_in_sync
        if devices == 1:
            return batches
        own = devices // context.num_input_pipelines
        first = own * context.input_pipeline_id

        def shares(*batch: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(first, first + own).map(
                lambda device: tuple(tensor[device::devices] for tensor in batch)
            )

        whole = batches.filter(lambda images, _: tf.shape(images)[0] >= devices)
        return whole.flat_map(shares)

    return strategy.distribute_datasets_from_function(of_machine)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run; of several machines, the first one does."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec():
        return True
    return resolver.task_type in (None, "chief") or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and "chief" not in resolver.cluster_spec().jobs
    )


def _strategy(gpus: list) -> tuple[tf.distribute.Strategy, str]:
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    if cluster:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        return strategy, f"TF_CONFIG names a cluster: {cluster.num_tasks('worker')} workers"
    if not gpus:
        # Only virtual devices make more than one; that is how the multi-device path is tested.
        cpus = tf.config.list_logical_devices("CPU")
        if len(cpus) > 1:
            return tf.distribute.MirroredStrategy([cpu.name for cpu in cpus]), (
                f"{len(cpus)} logical CPUs, mirrored"
            )
        return tf.distribute.get_strategy(), "no GPU visible"
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy(), f"{len(gpus)} GPUs, mirrored"
    return tf.distribute.get_strategy(), "one GPU"
