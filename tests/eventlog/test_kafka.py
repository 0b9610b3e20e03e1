"""The Kafka log keeps the contract on a real broker."""

from __future__ import annotations

import pytest
from support_eventlog import EventLogContract
from support_kafka import broker, fresh, kafka_url

__all__ = ["broker", "kafka_url"]


class TestKafkaEventLog(EventLogContract):
    @pytest.fixture
    def log_url(self, kafka_url: str) -> str:
        return fresh(kafka_url)
