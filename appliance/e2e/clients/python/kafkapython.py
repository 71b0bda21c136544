"""kafka-python."""

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic

from driver import records, say, stopped_by_stdin


def version(c):
    say(version="kafka-python " + kafka.__version__)


def produce(c):
    codec = None if c["codec"] == "none" else c["codec"]
    conf = {"bootstrap_servers": c["brokers"], "compression_type": codec, "linger_ms": 50}
    if c.get("idempotent"):
        conf["enable_idempotence"] = True
    else:
        conf.update(enable_idempotence=False, acks={-1: "all"}.get(c.get("acks", -1), c.get("acks", -1)))
    if c.get("transaction"):
        conf.update(transactional_id=c["transaction"], enable_idempotence=True)
    p = KafkaProducer(**conf)
    if c.get("transaction"):
        p.init_transactions()
        p.begin_transaction()
    partition = c.get("partition", -1)
    sent = [
        p.send(c["topic"], value=value.encode(), key=key.encode(), timestamp_ms=at, partition=None if partition < 0 else partition)
        for key, value, at in records(c)
    ]
    p.flush(30)
    for f in sent:
        m = f.get(30)
        say(partition=m.partition, offset=m.offset)


def show(m):
    say(partition=m.partition, offset=m.offset, key=m.key.decode(), value=m.value.decode(), time=m.timestamp)


def read(c):
    consumer = KafkaConsumer(bootstrap_servers=c["brokers"], enable_auto_commit=False, isolation_level=c.get("isolation", "read_committed"))
    p = TopicPartition(c["topic"], c["partition"])
    consumer.assign([p])
    if c["at"] == "beginning":
        consumer.seek_to_beginning(p)
    elif c["at"] == "end":
        consumer.seek_to_end(p)
        consumer.position(p)
    elif c["at"] == "time":
        consumer.seek(p, consumer.offsets_for_times({p: c["time"]})[p].offset)
    else:
        consumer.seek(p, c["offset"])
    say(ready=True)
    n = 0
    for m in consumer:
        show(m)
        n += 1
        if n == c["count"]:
            break
    consumer.close()


def group(c):
    stop = stopped_by_stdin()
    extra = {"group_instance_id": c["instance"]} if c.get("instance") else {}
    consumer = KafkaConsumer(
        c["topic"],
        bootstrap_servers=c["brokers"],
        group_id=c["group"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=c["session"],
        heartbeat_interval_ms=1000,
        **extra,
    )
    known = None
    while not stop.is_set():
        polled = consumer.poll(200)
        held = sorted(p.partition for p in consumer.assignment())
        if held != known:
            known = held
            say(assigned=held)
        for batch in polled.values():
            for m in batch:
                show(m)
        if polled:
            consumer.commit()
    consumer.close(autocommit=False)


def committed(c):
    consumer = KafkaConsumer(bootstrap_servers=c["brokers"], group_id=c["group"], enable_auto_commit=False)
    parts = [TopicPartition(c["topic"], i) for i in range(c["partitions"])]
    ends = consumer.end_offsets(parts)
    for p in parts:
        at = consumer.committed(p)
        say(partition=p.partition, offset=-1 if at is None else at, end=ends[p])
    consumer.close(autocommit=False)


def admin(c):
    a = KafkaAdminClient(bootstrap_servers=c["brokers"])
    what = c["what"]
    if what == "create":
        a.create_topics([NewTopic(c["topic"], c["partitions"], 1, topic_configs=c["config"])])
    elif what == "describe":
        described = [t for t in a.describe_topics([c["topic"]]) if not t.get("error_code")] if c["topic"] in a.list_topics() else []
        settings = {}
        if described:
            settings = config_of(a, c["topic"])
        say(partitions=len(described[0]["partitions"]) if described else 0, config=settings)
        return
    elif what == "alter":
        a.alter_configs([ConfigResource(ConfigResourceType.TOPIC, c["topic"], c["config"])])
    elif what == "grow":
        a.create_partitions({c["topic"]: NewPartitions(c["partitions"])})
    elif what == "delete":
        a.delete_topics([c["topic"]])
    say(ok=True)


def config_of(a, topic):
    found = a.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic, None)], config_filter="all")
    return {name: setting["value"] for resources in found.values() for settings in resources.values() for name, setting in settings.items()}
