"""The door of the river: batches over gRPC become records in the event log.

Enters: `naiad.v1.IngestService` calls of authenticated principals. Leaves: envelopes on the
records topic, each with a batch byte for byte as it was sent; files in the file store.

Promised:
- OK means that everything not named in the answer's rejections is durable in the log.
- A bad item costs itself only. It is named with its reason, to the sender in the answer
  and to every consumer in the envelope; what can't be taken as a whole is INVALID_ARGUMENT.
- Memory is bounded: a batch is received when there is room for it, in turn. Who has to wait for
  too long is told when to come again, as when the log is full; so is who sends more than the
  limits allow.
- An epoch is durable before any batch that carries it is acknowledged, so `OpenWriter`
  knows it also after a crash.

    validation/  what may stand in a batch        admission  bytes under way
    envelope     what is logged                   epochs     who wrote a run before
    progress     how far is stored                uploads    files
    limiting     what a batch takes from limits
    service      the four calls                   options    of the gRPC server
    counting     points of a batch                metrics    for Prometheus
"""

from naiad_ingest.admission import Admission
from naiad_ingest.options import SERVER_OPTIONS
from naiad_ingest.service import IngestService
from naiad_ingest.uploads import MAX_FILE_BYTES

__all__ = ["MAX_FILE_BYTES", "SERVER_OPTIONS", "Admission", "IngestService"]
