"""The fleet in a Kubernetes cluster: manifests applied whole, and models.config in a ConfigMap.

    python -m serving.cluster staging            apply an overlay of k8s/; a bad one is rolled back
    python -m serving.rollout … --kubernetes     the verbs of the rollout, on the cluster

Everything goes through kubectl, with its context and its rights.
"""
