"""Kubernetes' Pod Security Standard `restricted`, as rules over rendered documents.

The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/ for
Linux pods, baseline and restricted together. Any pod counts, in custom resources too: whatever has
a list called `containers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Pod = dict[str, Any]

VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
SECCOMP: Final = ("RuntimeDefault", "Localhost")
CAPABILITIES: Final = ["NET_BIND_SERVICE"]
SYSCTLS: Final = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range"),
    *("net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies"),
    *("net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout"),
    *("net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"),
    *("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}
SELINUX_TYPES: Final = (None, "", "container_t", "container_init_t", "container_kvm_t")
HANDLERS: Final = (
    ("livenessProbe",),
    ("readinessProbe",),
    ("startupProbe",),
    ("lifecycle", "preStop"),
    ("lifecycle", "postStart"),
)


def pods(node: Any) -> Iterator[Pod]:
    """Every pod's spec in a document, however deep."""
    if isinstance(node, dict):
        if isinstance(node.get("containers"), list):
            yield node
        for child in node.values():
            yield from pods(child)
    elif isinstance(node, list):
        for child in node:
            yield from pods(child)


def containers(pod: Pod) -> list[dict[str, Any]]:
    """All of a pod's containers, of every kind."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in pod.get(kind) or []]


def violations(document: Any) -> list[str]:
    """What `restricted` refuses in a document's pods, a sentence each."""
    return [found for pod in pods(document) for found in (*_of_pod(pod), *_of_containers(pod))]


def _of_pod(pod: Pod) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield f"{name} is true"
    for volume in pod.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is of kind {sorted(kinds - VOLUMES)}"
    context = pod.get("securityContext") or {}
    for sysctl in context.get("sysctls") or []:
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']} is set"


def _of_containers(pod: Pod) -> Iterator[str]:
    whole = pod.get("securityContext") or {}
    for container in containers(pod):
        own = container.get("securityContext") or {}
        for found in (*_rights(own), *_identity(whole, own), *_host(container)):
            yield f"{container['name']}: {found}"


def _rights(own: dict[str, Any]) -> Iterator[str]:
    if own.get("privileged"):
        yield "privileged is true"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("procMount") not in (None, "Default"):
        yield "procMount is not Default"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "capabilities do not drop ALL"
    if added := [name for name in capabilities.get("add") or [] if name not in CAPABILITIES]:
        yield f"capabilities add {added}"


def _identity(whole: dict[str, Any], own: dict[str, Any]) -> Iterator[str]:
    def effective(key: str) -> Any:
        return own[key] if own.get(key) is not None else whole.get(key)

    if effective("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if effective("runAsUser") == 0:
        yield "runAsUser is 0"
    if (effective("seccompProfile") or {}).get("type") not in SECCOMP:
        yield "seccompProfile is neither RuntimeDefault nor Localhost"
    if (effective("appArmorProfile") or {}).get("type") == "Unconfined":
        yield "appArmorProfile is Unconfined"
    selinux = effective("seLinuxOptions") or {}
    if selinux.get("type") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions choose a type, a user or a role"
    if (effective("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess is true"


def _host(container: dict[str, Any]) -> Iterator[str]:
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']}"
    for path in HANDLERS:
        handler = container
        for key in path:
            handler = handler.get(key) or {}
        for action in ("httpGet", "tcpSocket"):
            if (handler.get(action) or {}).get("host"):
                yield f"{'.'.join(path)} asks another host"
