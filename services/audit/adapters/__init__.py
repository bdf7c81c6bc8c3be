"""Kafka behind the audit tools' ports, by confluent-kafka."""
