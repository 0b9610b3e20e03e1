"""Tells people when a run needs them.

Enters: the batches of the records topic (as one more consumer group), and time. Leaves:
occurrences in the table `alerts`, and notices to sinks: this process's log, and webhooks.

Promised:
- An occurrence has one id for ever, made from the data that began it. A replay, a resend
  or a restart doesn't raise it again.
- It is in the store before the offset is committed, and every configured sink is told of
  it at least once: what a sink hasn't taken is sent again, after restarts too.
- A slow or dead sink never holds up the reading of the log.
- The time while this server was down, or the log didn't answer, is nobody's silence.
- Of several alerters one works; when it ends, dies or is no longer heard another one goes on from
  the store and the last commit.

Inside: `observation` decodes batches for all rules, `rule` is what a rule is (`metrics` and
`silence` are the ones there are), `book` knows what is open, `engine` puts these together;
`outbox`, `sinks`, `marks` and `delivery` carry notices; `lead` says which alerter works;
`alerter` is the consumer around it.
"""

from naiad_consumers.alerter.alerter import GROUP, Alerter
from naiad_consumers.alerter.config import (
    AlertConfig,
    AlertConfigError,
    HeartbeatRule,
    NonFiniteRule,
    ThresholdRule,
    Webhook,
)
from naiad_consumers.alerter.occurrence import Severity

__all__ = [
    "GROUP",
    "AlertConfig",
    "AlertConfigError",
    "Alerter",
    "HeartbeatRule",
    "NonFiniteRule",
    "Severity",
    "ThresholdRule",
    "Webhook",
]
