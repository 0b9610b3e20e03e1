"""The settings of each stage, with what they mean: docs/settings.md is made from here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from naiad.address import is_loopback
from naiad_serve.address import Address
from naiad_serve.settings import Settings
from naiad_serve.tls import TlsFiles, TlsNames, tls_files
from naiad_serve.values import (
    AlertsFile,
    EventLogUrl,
    FilesUrl,
    LimitsText,
    Listen,
    ServerUrl,
    StateUrl,
    StoreUrl,
    WebUrl,
)

_SECRET: dict[str, Any] = {"secret": True}
_TLS_NAMES = TlsNames("NAIAD_TLS_CERT", "NAIAD_TLS_KEY", "NAIAD_TLS_CLIENT_CA")


# Each stage has ports of its own, so that all of them can run on one machine as they are.
def _listen(port: int, what: str = "Where gRPC is served, as host:port.") -> Any:
    return Field(Address("127.0.0.1", port), description=what)


def _metrics_listen(port: int) -> Any:
    return _listen(port, "Where /metrics, /healthz and /readyz are served over HTTP, as host:port.")


def _state(*default: None) -> Any:
    return Field(
        *default,
        description="[Shared state](state.md) in Redis or Valkey: redis[s]://host:port/number or"
        " unix:///path. A login may stand in NAIAD_STATE_USER and NAIAD_STATE_PASSWORD instead."
        " Without it limits hold for each process alone and no answers are cached; the live"
        " stage is nothing without it.",
        examples=["redis://redis:6379/0"],
        json_schema_extra=_SECRET,
    )


class Common(Settings):
    metrics_listen: Listen
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(str.upper)
    ] = Field("INFO", description="The least important messages that are logged.")
    log_format: Annotated[Literal["json", "text"], BeforeValidator(str.lower)] = Field(
        "text", description="How messages are logged, to stderr: one JSON object a line, or text."
    )
    drain_seconds: float = Field(
        25.0,
        ge=1,
        le=600,
        description="How long work that has begun may take to end after SIGTERM. Keep it below"
        " the orchestrator's own patience (Kubernetes: 30 s).",
    )

    @property
    def drain_limit(self) -> float:
        """Seconds from the signal to the end, at the most."""
        return self.drain_seconds


class WithEventLog(Settings):
    event_log: EventLogUrl = Field(
        description="The event log: kafka://host:port[,host:port], with the options of"
        " [the event log's page](eventlog.md). A login may stand in NAIAD_KAFKA_USER and"
        " NAIAD_KAFKA_PASSWORD instead.",
        examples=["kafka://kafka-0:9092,kafka-1:9092,kafka-2:9092"],
        json_schema_extra=_SECRET,
    )


class WithStore(Settings):
    store: StoreUrl = Field(
        description="The store: clickhouse[s]://user:password@host:port[/database], with the"
        " options of [the store's page](store.md). A chdb:///folder"
        " belongs to one process, so only one stage can have it.",
        examples=["clickhouse://naiad:…@clickhouse:8123"],
        json_schema_extra=_SECRET,
    )
    store_cluster: str | None = Field(
        None,
        description="The name of the ClickHouse cluster over which tables are made"
        " ([the store](store.md)); the same as ?cluster= in the URL.",
    )


class WithFiles(Settings):
    files: FilesUrl = Field(
        description="Where logged files are kept: s3://bucket/prefix, with the usual AWS_…"
        " variables, or file:///folder that ingest and query share.",
        examples=["s3://naiad-files"],
        json_schema_extra=_SECRET,
    )


class Serving(Common):
    """What serves gRPC."""

    listen: Listen
    tokens: Path | None = Field(
        None,
        description="File with the hashes of the tokens that are valid (`naiad token create"
        " --tokens FILE`). Without it nobody has to log in, which is possible on loopback only."
        " It is read again when it changes.",
    )
    tls_cert: Path | None = Field(
        None, description="PEM file with the certificate chain to serve TLS."
    )
    tls_key: Path | None = Field(None, description="PEM file with its private key.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file: only clients with a certificate of this CA may connect."
    )
    drain_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="How long calls are still taken after SIGTERM, while health says that no more"
        " should come: the time that a load balancer needs to notice. It comes before"
        " NAIAD_DRAIN_SECONDS.",
    )

    _tls: TlsFiles | None = PrivateAttr(None)

    @property
    def drain_limit(self) -> float:
        return self.drain_delay_seconds + self.drain_seconds

    @property
    def tls(self) -> TlsFiles | None:
        return self._tls

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        self._tls = tls_files(self.tls_cert, self.tls_key, self.tls_client_ca, _TLS_NAMES)
        return self

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.tokens is None and not is_loopback(self.listen.host):
            raise ValueError(
                f"NAIAD_TOKENS is not set, and NAIAD_LISTEN={self.listen} is open to others: name"
                " the file of tokens, or listen on 127.0.0.1"
            )
        return self


class IngestSettings(WithFiles, WithEventLog, Serving):
    listen: Listen = _listen(7420)
    metrics_listen: Listen = _metrics_listen(9464)
    state: StateUrl | None = _state(None)
    limits: LimitsText = Field(
        "",
        description="How much may be sent per project and token: [rules](state.md#limits)"
        " separated by `;`. Without any nothing is limited.",
        examples=["project=*:points_per_second=500000"],
    )
    ingest_max_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of batches that are received and taken at once. More wait for their"
        " turn; who has waited for two seconds is told to send again later. The process"
        " takes about five times as much memory.",
    )


class WriterSettings(WithStore, WithEventLog, Common):
    metrics_listen: Listen = _metrics_listen(9465)
    writer_block_rows: int = Field(
        250_000,
        ge=1,
        le=10_000_000,
        description="Rows after which a block goes into the store; fewer go in sooner, by time.",
    )
    migrate: bool = Field(
        True,
        description="Bring the store's tables up to this release at start. With false the writer"
        " waits until `naiad store migrate` has.",
    )
    files: FilesUrl | None = Field(
        None,
        description="Where logged files are kept, as for ingest: those that only purged runs"
        " referred to are removed there. Without it they stay.",
        examples=["s3://naiad-files"],
        json_schema_extra=_SECRET,
    )


class LiveSettings(WithEventLog, Common):
    metrics_listen: Listen = _metrics_listen(9466)
    state: StateUrl = _state()


class AlerterSettings(WithStore, WithEventLog, Common):
    metrics_listen: Listen = _metrics_listen(9467)
    alerts: AlertsFile | None = Field(
        None,
        description="YAML file with alert rules and sinks ([alerts](alerts.md)); without it the"
        " rules that need no settings watch, and alerts stand in the store only.",
    )


class QuerySettings(WithFiles, WithStore, Serving):
    listen: Listen = _listen(7421)
    metrics_listen: Listen = _metrics_listen(9468)
    state: StateUrl | None = _state(None)
    dashboard_url: WebUrl | None = Field(
        None, description="The dashboard's address for users, which clients print as links."
    )
    event_log: EventLogUrl | None = Field(
        None,
        description="The event log, for `naiad audit` alone; without it that is refused.",
        examples=["kafka://kafka-0:9092,kafka-1:9092,kafka-2:9092"],
        json_schema_extra=_SECRET,
    )
    query_threads: int = Field(
        16, ge=1, le=1024, description="Questions that are asked of the store at a time."
    )


class DashboardSettings(Common):
    listen: Listen = _listen(8501, "Where the pages are served, as host:port.")
    metrics_listen: Listen = _metrics_listen(9469)
    server: ServerUrl = Field(
        description="The server that the dashboard asks, as clients reach it: grpc[s]://host:port.",
        examples=["grpc://gateway:7420"],
    )
    login: bool | None = Field(
        None,
        description="Whether every reader has to show a token first. Without a word: yes, but for"
        " pages on loopback.",
    )
    tls_cert: Path | None = Field(
        None, description="PEM file with the certificate chain to serve TLS."
    )
    tls_key: Path | None = Field(None, description="PEM file with its private key.")

    _tls: TlsFiles | None = PrivateAttr(None)

    @property
    def tls(self) -> TlsFiles | None:
        return self._tls

    @property
    def needs_login(self) -> bool:
        return not is_loopback(self.listen.host) if self.login is None else self.login

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        self._tls = tls_files(self.tls_cert, self.tls_key, None, _TLS_NAMES)
        return self


STAGES: dict[str, type[Common]] = {
    "ingest": IngestSettings,
    "writer": WriterSettings,
    "live": LiveSettings,
    "alerter": AlerterSettings,
    "query": QuerySettings,
    "dashboard": DashboardSettings,
}
