"""`RecordSender` on Kafka: an idempotent producer that hashes keys as every producer of the chain does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.audit.ports import BrokerAway, Sending
from services.chassis.kafka import producer_config
from services.chassis.settings import StageSettings

ANSWER_SECONDS = 5.0  #: for the first sign of life
SEND_SECONDS = 40.0  #: more than the producer's delivery.timeout.ms, after which each record has its answer
_ANY_PARTITION = -1  #: the partitioner's choice
_UNANSWERED = "no acknowledgement came"


class KafkaSender:
    """The port over the cluster that the settings name."""

    def __init__(self, settings: StageSettings) -> None:
        self._prefix = settings.topic_prefix
        self._servers = settings.kafka_bootstrap_servers
        self._producer = Producer(producer_config(settings, "distillery-audit") | {"log_level": 0})

    def send(self, sendings: Sequence[Sending]) -> list[str | None]:
        """See `RecordSender.send`."""
        self._need_broker()
        answers: list[str | None] = [_UNANSWERED] * len(sendings)
        for number, sending in enumerate(sendings):
            self._produce(sending, _answer_to(answers, number))
        self._producer.flush(SEND_SECONDS)
        return answers

    def _need_broker(self) -> None:
        try:
            self._producer.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise BrokerAway(
                f"No Kafka broker answers at {self._servers}, so nothing was sent; start it, or set "
                "KAFKA_BOOTSTRAP_SERVERS to where it is."
            ) from error

    def _produce(self, sending: Sending, on_delivery: Callable[[KafkaError | None, Message], None]) -> None:
        while True:
            try:
                self._producer.produce(
                    self._prefix + sending.topic,
                    sending.value,
                    key=sending.key,
                    partition=_ANY_PARTITION if sending.partition is None else sending.partition,
                    headers=list(sending.headers),
                    on_delivery=on_delivery,
                )
            except BufferError:  # the local queue is full; each answer makes room
                self._producer.poll(1.0)
            except KafkaException as error:  # refused here, such as for its size
                reason = error.args[0]
                on_delivery(reason, None)  # type: ignore[arg-type]  # the record was never made
                return
            else:
                self._producer.poll(0)
                return


def _answer_to(answers: list[str | None], number: int) -> Callable[[KafkaError | None, Message], None]:
    def on_delivery(error: KafkaError | None, _: Message) -> None:
        answers[number] = None if error is None else error.str()

    return on_delivery
