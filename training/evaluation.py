"""Metrics of a two-class classifier on held-out images, and its probabilities.

Definitions are scikit-learn's. Positive is class 1; a probability at or above the threshold decides
for it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import sklearn.metrics
import tensorflow as tf

from foundation.command_line import raise_if_interrupted
from training import chance


class Predictor:
    """Asks a model, compiled once for any number of images.

    Args:
        model: float32 [B, H, W, 3] -> float32 [B, 1].
    """

    def __init__(self, model: keras.Model):
        spec = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
        self._infer = tf.function(
            lambda images: model(images, training=False)[:, 0], input_signature=[spec]
        )

    def probabilities(self, batches: tf.data.Dataset) -> np.ndarray:
        """The model's answers, in the order of the batches.

        Args:
            batches: elements (images, targets); the targets are not looked at.

        Returns:
            float32 [N], 0-1.
        """
        answers = []
        for images, _ in batches:
            raise_if_interrupted()
            answers.append(self._infer(images).numpy())
        return np.concatenate(answers) if answers else np.zeros(0, np.float32)


def log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean binary cross-entropy, in nats; probabilities are kept 1e-7 away from 0 and 1."""
    inside = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(targets == 1, np.log(inside), np.log1p(-inside))))


def roc_auc(targets: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Area under the ROC curve; None where only one class is there."""
    if len(np.unique(targets)) < 2:
        return None
    return float(sklearn.metrics.roc_auc_score(targets, probabilities))


def metrics(
    targets: np.ndarray, probabilities: np.ndarray, *, threshold: float, review_margin: float
) -> dict[str, Any]:
    """All figures of one split.

    Args:
        targets: int [N], 0 or 1.
        probabilities: float [N], 0-1.
        threshold: 0-1.
        review_margin: 0-0.5; closer than this to the threshold asks for a person.

    Returns:
        JSON-ready; the areas are None where only one class is there. roc_auc_interval is that of
        training/chance.py, and confusion_matrix is
        [[true negatives, false positives], [false negatives, true positives]].
    """
    decisions = (probabilities >= threshold).astype(int)
    both = len(np.unique(targets)) == 2
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        targets, decisions, average="binary", zero_division=0.0
    )
    return {
        "count": len(targets),
        "positives": int(targets.sum()),
        "threshold": threshold,
        "accuracy": float(np.mean(decisions == targets)),
        "balanced_accuracy": float(sklearn.metrics.balanced_accuracy_score(targets, decisions))
        if both
        else None,
        "roc_auc": roc_auc(targets, probabilities),
        "roc_auc_interval": chance.roc_auc_interval(probabilities, targets == 1),
        "pr_auc": float(sklearn.metrics.average_precision_score(targets, probabilities))
        if both
        else None,
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "log_loss": log_loss(targets, probabilities),
        "confusion_matrix": sklearn.metrics.confusion_matrix(
            targets, decisions, labels=[0, 1]
        ).tolist(),
        "review_share": float(np.mean(np.abs(probabilities - threshold) < review_margin)),
    }
