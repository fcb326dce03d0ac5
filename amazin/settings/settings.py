"""Every setting as data: name, place in the file, unit, default, meaning, converter.

Pure. The table in `docs/settings.md` is generated from it. `converters.py` converts
each setting, `load.py` loads all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from amazin import units
from amazin.model.node_specs import NodeSpec, TimeLimits, http_endpoint
from amazin.settings import converters
from amazin.settings.converters import Network, setting

of_docker = partial(setting, only_for=("docker",))
of_static = partial(setting, only_for=("static",))
of_services = partial(setting, only_for=("consul", "dns"))
of_keys = partial(setting, only_for=("consul", "dns", "docker"))
of_agent = partial(setting, only_for=("consul", "registration"))
of_registration = partial(setting, only_for=("registration",))
MOST_OBJECT_BYTES = 5 * 2**30
"""The limit of S3 for one upload."""


@dataclass(frozen=True)
class Settings:
    """What an operator decides. A field's variable is its name in upper case."""

    instance_id: str = setting(
        converters.name, "", "Name of this gateway; by default made of host and port."
    )
    host: str = setting(
        converters.host, "0.0.0.0", "Address to listen on.", place="server.host"
    )
    port: int = setting(
        converters.integer(1, 65535),
        3000,
        "Port to listen on; a newly written file has 8082.",
        place="server.port",
        in_file=8082,
    )
    workers: int = setting(converters.integer(1, 256), 2, "Gateway processes.")
    discovery: str = setting(
        converters.discovery,
        "docker",
        "How nodes are found: `docker`, `static`, `folders`, `consul`, `dns` or "
        "`package.module:Class`; default `docker`, or with `MINIO_ENDPOINT` `static`; "
        "`amazin serve` and `make run`: `folders`.",
    )
    storage_instances_selector: str = of_docker(
        converters.selector,
        "amazin-object-storage-node",
        "Docker: containers with this in their name are nodes.",
    )
    node_port: int = setting(
        converters.integer(1, 65535),
        9000,
        "Docker, DNS: the port of the nodes.",
        only_for=("docker", "dns"),
    )
    docker_host: str = of_docker(
        converters.docker_host,
        "",
        "Docker: URL of the daemon or of a read-only socket proxy; by default that of "
        "the context, or else `unix:///var/run/docker.sock`.",
    )
    docker_context: str = of_docker(
        converters.name,
        "",
        "Docker: a context of the `docker` command; by default its current one.",
    )
    docker_tls_verify: bool = of_docker(
        converters.flag,
        False,
        "Docker: whether `DOCKER_HOST` speaks TLS; the daemon is always verified then.",
    )
    docker_cert_path: str = of_docker(
        converters.folder,
        "",
        "Docker: folder with `ca.pem`, `cert.pem` and `key.pem` for TLS; by default "
        "`~/.docker`.",
    )
    docker_networks: tuple[str, ...] = of_docker(
        converters.words,
        "",
        "Docker: networks over which nodes are reached, with commas, `*` for all; by "
        "default those of the gateway's container, or all if it runs in none.",
        is_list=True,
    )
    nodes: tuple[NodeSpec, ...] = of_static(
        converters.nodes,
        "",
        "Secret. Static: `name=http://key:secret@host:port[;weight=2][;group=a],...`.",
        is_list=True,
    )
    nodes_file: str = of_static(
        converters.folder,
        "",
        "Static: a file with one node per line, in the form of `NODES`.",
    )
    data_dir: str = setting(
        converters.folder,
        "data",
        "Folders: where `node-1`, `node-2`, ... are.",
        only_for=("folders", "docker"),  # Docker's looks whether there are folders
    )
    folder_nodes: int = setting(
        converters.integer(1, 1000),
        3,
        "Folders: the number of nodes.",
        only_for=("folders",),
    )
    dns_name: str = setting(
        converters.host,
        "",
        "DNS: name of the nodes; if it begins with `_`, of their SRV records.",
        only_for=("dns",),
    )
    node_access_key: str = of_keys(
        converters.text,
        "",
        "Secret. The nodes' access key: Consul, DNS; Docker, if they tell none.",
    )
    node_secret_key: str = of_keys(
        converters.text,
        "",
        "Secret. The nodes' secret key: Consul, DNS; Docker, if they tell none.",
    )
    node_use_ssl: bool = of_services(
        converters.flag, False, "Consul, DNS: whether the nodes speak HTTPS."
    )
    refresh_seconds: float = setting(
        units.seconds, 5.0, "How often the list of nodes is read again.", unit="s"
    )
    replicas: int = setting(
        converters.integer(1, 9), 1, "The number of nodes that store each object."
    )
    group_weights: Mapping[str, float] = setting(
        converters.group_weights,
        "",
        "Groups: their shares of the objects, if not 1: `group=weight,...`.",
        is_list=True,
    )
    max_object_bytes: int = setting(
        units.size, MOST_OBJECT_BYTES, "Larger uploads are refused (413).", unit="bytes"
    )
    metadata_headers: re.Pattern[str] = setting(
        converters.metadata_headers,
        "",
        "Names of `X-...` headers that objects keep beside `X-Meta-...` and "
        "`X-Amz-Meta-...`, with commas.",
        is_list=True,
    )
    chunk_bytes: int = setting(
        units.size,
        0,
        "Larger uploads are stored in parts of this size; 0: never in parts.",
        unit="bytes",
    )
    spool_dir: str = setting(
        converters.folder, "/var/tmp", "Folder on a disk for uploads of unknown length."
    )
    spool_bytes: int = setting(
        units.size,
        10 * 2**30,
        "Space in `SPOOL_DIR` per worker; an upload that needs more than half of what "
        "others leave is refused (507).",
        unit="bytes",
    )
    spool_timeout: float = setting(
        units.seconds,
        60.0,
        "An upload that is held in `SPOOL_DIR` must bring 64 KiB, and a 256th of what "
        "has come, in so long (408).",
        unit="s",
    )
    node_connect_timeout: float = setting(
        units.seconds, 1.0, "Limit for connecting to a node.", unit="s"
    )
    node_answer_timeout: float = setting(
        units.seconds,
        5.0,
        "Limit for the first byte of a node's response to a read.",
        unit="s",
    )
    node_transfer_timeout: float = setting(
        units.seconds,
        30.0,
        "Limit between two pieces of a body, and for a node to store it.",
        unit="s",
    )
    request_timeout: float = setting(
        units.duration,
        0.0,
        "Limit for a request and all that it waits for (408, or cut off); 0: none.",
        unit="s",
    )
    client_idle_timeout: float = setting(
        units.seconds,
        75.0,
        "How long a client's connection may be idle; proxies in front need less.",
        unit="s",
    )
    health_path: str = setting(
        converters.path,
        "/health",
        "Path of the gateway's health check; no other API may have it.",
    )
    public_url: str = setting(
        converters.base_url,
        "",
        "Where clients reach the gateway: `https://host[:port]`.",
    )
    served_hosts: tuple[str, ...] = setting(
        converters.host_names,
        "",
        "Host names under which the gateway is reached, with commas; others are "
        "refused (421). Default: all.",
        is_list=True,
    )
    forwarded_allow_ips: tuple[Network, ...] = setting(
        converters.networks,
        "127.0.0.1,::1",
        "Proxies whose `X-Forwarded-For` is believed, with commas; `*` for all.",
        is_list=True,
    )
    log_level: str = setting(
        converters.one_of("debug", "info", "warning", "error", warn="warning"),
        "info",
        "The least severe level that is logged.",
    )
    log_debug: bool = setting(converters.flag, False, "The same as `LOG_LEVEL=debug`.")
    blob_api: bool = setting(
        converters.flag, False, "Whether `/upload` and `/fetch/{id}` are served."
    )
    metrics: bool = setting(
        converters.flag, True, "Whether requests are counted, and `/metrics` is served."
    )
    access: str = setting(
        converters.one_of("open", "signed"),
        "open",
        "`open`, or `signed`: requests need a token or a signed URL.",
    )
    api_tokens: tuple[str, ...] = setting(
        converters.words,
        "",
        "Secret. Tokens that permit every request, with commas.",
        is_list=True,
    )
    access_file: str = setting(
        converters.folder, "", "A file that says who may do what; `signed` with it."
    )
    signing_key_id: str = setting(
        converters.name, "amazin", "Access key id in signed URLs; no secret."
    )
    signing_secret: str = setting(
        converters.secret,
        "",
        "Secret. The key that signs URLs, the same for all gateways.",
    )
    presign: str = setting(
        converters.one_of("gateway", "direct"),
        "gateway",
        "Whether signed URLs point to the `gateway`, or `direct` to a node.",
    )
    consul_enabled: bool = setting(
        converters.flag,
        False,
        "Whether the gateway registers itself with Consul.",
        place="consul.enabled",
    )
    consul_address: str = of_agent(
        converters.agent_address,
        "localhost:8500",
        "The Consul agent, `host:port`.",
        place="consul.address",
    )
    consul_token: str = of_agent(
        converters.word, "", "Secret. ACL token for the agent.", place="consul.token"
    )
    consul_nodes_service: str = setting(
        converters.name,
        "amazin-object-storage-node",
        "Consul: the service whose instances are the nodes.",
        place="consul.nodes_service",
        only_for=("consul",),
    )
    consul_service_name: str = of_registration(
        converters.name,
        "storage-service",
        "The service name under which the gateway is registered.",
        place="consul.registration.service_name",
    )
    consul_service_id_prefix: str = of_registration(
        converters.name,
        "storage-svc-",
        "The id of the registration is this prefix and `INSTANCE_ID`.",
        place="consul.registration.service_id_prefix",
    )
    consul_service_tags: tuple[str, ...] = of_registration(
        converters.words,
        "",
        "Tags of the registration, with commas.",
        place="consul.registration.service_tags",
        is_list=True,
    )
    consul_service_address: str = of_registration(
        converters.host,
        "",
        "Address of the gateway; by default the one from which it reaches the agent.",
        place="consul.registration.service_address",
    )
    consul_health_check_path: str = of_registration(
        converters.path,
        "",
        "The path that the agent checks; by default `HEALTH_PATH`.",
        place="consul.registration.health_check_path",
    )
    consul_health_check_interval: float = of_registration(
        units.seconds,
        10.0,
        "How often the agent checks.",
        unit="s",
        place="consul.registration.health_check_interval",
    )
    consul_health_check_timeout: float = of_registration(
        units.seconds,
        5.0,
        "How long the agent waits for the response.",
        unit="s",
        place="consul.registration.health_check_timeout",
    )
    minio_endpoint: str = of_static(
        converters.host_port,
        "",
        "Single node: its address, `host:port`.",
        place="minio.endpoint",
    )
    minio_access_key_id: str = of_static(
        converters.text,
        "",
        "Secret. Single node: its access key.",
        place="minio.accessKeyID",
    )
    minio_secret_access_key: str = of_static(
        converters.text,
        "",
        "Secret. Single node: its secret key.",
        place="minio.secretAccessKey",
    )
    minio_use_ssl: bool = of_static(
        converters.flag,
        False,
        "Single node: whether it speaks HTTPS.",
        place="minio.useSSL",
    )
    minio_region: str = of_static(
        converters.name, "us-east-1", "Single node: its region.", place="minio.region"
    )
    default_bucket: str = setting(
        converters.bucket,
        "default",
        "Bucket for requests that name none.",
        place="minio.defaultBucket",
    )
    auto_create_default_bucket: bool = setting(
        converters.flag,
        True,
        "Whether `DEFAULT_BUCKET` is made when it is first needed.",
        place="minio.autoCreateDefaultBucket",
    )

    @property
    def least_level(self) -> str:
        """The least severe level that is logged, in lower case."""
        return "debug" if self.log_debug else self.log_level

    @property
    def node_limits(self) -> TimeLimits:
        """The time limits for requests to nodes."""
        connect, answer = self.node_connect_timeout, self.node_answer_timeout
        return TimeLimits(connect, answer, self.node_transfer_timeout)

    @property
    def single_node(self) -> NodeSpec | None:
        """The node of `MINIO_ENDPOINT`, if that setting is in use."""
        if self.discovery != "static" or not self.minio_endpoint:
            return None
        scheme = "https" if self.minio_use_ssl else "http"
        return NodeSpec(
            "minio",
            http_endpoint(f"{scheme}://{self.minio_endpoint}"),
            self.minio_access_key_id,
            self.minio_secret_access_key,
            region=self.minio_region,
        )
