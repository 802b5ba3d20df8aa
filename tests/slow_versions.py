"""Versions that follow the contract and take a chosen time, to compare latencies.

Their work is arithmetic in the graph: a fifth more rounds take a fifth more time on any machine.
Every picture gets the same answer.
"""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from tfs_client import contract

SIDE = 96


class Working(tf.Module):
    """The contract's default signature over so many products of small matrices."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = tf.constant(rounds)
        self.matrix = tf.Variable(tf.random.stateless_normal([SIDE, SIDE], seed=[1, 2]) / SIDE)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=contract.INPUT_IMAGE_BYTES)]
    )
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Spends time on arithmetic; the answer is constant."""
        _, found = tf.while_loop(
            lambda at, _: at < self.rounds,
            lambda at, held: (at + 1, tf.tanh(held @ self.matrix)),
            (0, tf.identity(self.matrix)),
            parallel_iterations=1,
        )
        rows = tf.shape(image_bytes)[0]
        probability = tf.fill([rows], 0.25 + 0.0 * tf.reduce_sum(found))
        return {
            contract.OUTPUT_PROBABILITY: probability,
            contract.OUTPUT_LABEL: tf.fill([rows], b"sound"),
            contract.OUTPUT_NEEDS_REVIEW: tf.fill([rows], False),
            contract.OUTPUT_VALID: tf.fill([rows], True),
        }


def save(folder: Path, rounds: int) -> None:
    """Writes a version."""
    module = Working(rounds)
    signatures = {contract.SIGNATURE_DEFAULT: module.serve}
    tf.saved_model.save(module, str(folder), signatures=signatures)
