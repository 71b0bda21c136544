"""confluent-kafka: librdkafka."""

import confluent_kafka as ck
from confluent_kafka import admin as ckadmin

from driver import records, say, stopped_by_stdin

START = {"beginning": ck.OFFSET_BEGINNING, "end": ck.OFFSET_END}


def version(c):
    say(version="confluent-kafka %s, librdkafka %s" % (ck.version()[0] if isinstance(ck.version(), tuple) else ck.version(), ck.libversion()[0]))


def produce(c):
    conf = {"bootstrap.servers": c["brokers"], "compression.type": c["codec"], "linger.ms": 5000}
    if c.get("idempotent"):
        conf["enable.idempotence"] = True
    else:
        conf["acks"] = c.get("acks", -1)
    if c.get("transaction"):
        conf["transactional.id"] = c["transaction"]
    p = ck.Producer(conf)
    if c.get("transaction"):
        p.init_transactions(15)
        p.begin_transaction()
    places = {}

    def delivered(i):
        def done(err, m):
            places[i] = {"error": str(err)} if err else {"partition": m.partition(), "offset": m.offset()}

        return done

    partition = c.get("partition", -1)
    for i, (key, value, at) in enumerate(records(c)):
        extra = {} if partition < 0 else {"partition": partition}
        p.produce(c["topic"], value, key, on_delivery=delivered(i), timestamp=at, **extra)
    left = p.flush(30)
    if left:
        raise RuntimeError("%d records not delivered" % left)
    for i in range(c["count"]):
        say(**places[i])


def show(m):
    say(partition=m.partition(), offset=m.offset(), key=m.key().decode(), value=m.value().decode(), time=m.timestamp()[1])


def read(c):
    consumer = ck.Consumer({"bootstrap.servers": c["brokers"], "group.id": "unused", "enable.auto.commit": False, "isolation.level": c.get("isolation", "read_committed")})
    if c["at"] == "time":
        at = consumer.offsets_for_times([ck.TopicPartition(c["topic"], c["partition"], c["time"])], 30)[0].offset
    else:
        at = START.get(c["at"], c.get("offset"))
    if c["at"] == "end":
        at = consumer.get_watermark_offsets(ck.TopicPartition(c["topic"], c["partition"]), 30)[1]
    consumer.assign([ck.TopicPartition(c["topic"], c["partition"], at)])
    say(ready=True)
    n = 0
    while n < c["count"]:
        m = consumer.poll(1)
        if m is None:
            continue
        if m.error():
            raise RuntimeError(str(m.error()))
        show(m)
        n += 1
    consumer.close()


def group(c):
    stop = stopped_by_stdin()
    consumer = ck.Consumer(
        {
            "bootstrap.servers": c["brokers"],
            "group.id": c["group"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": c["session"],
            "heartbeat.interval.ms": 1000,
            "partition.assignment.strategy": c.get("strategy", "range"),
            **({"group.instance.id": c["instance"]} if c.get("instance") else {}),
        }
    )

    def tell(consumer, _):
        pass

    known = None
    consumer.subscribe([c["topic"]])
    while not stop.is_set():
        m = consumer.poll(0.2)
        held = sorted(p.partition for p in consumer.assignment())
        if held != known:
            known = held
            say(assigned=held)
        if m is None:
            continue
        if m.error():
            raise RuntimeError(str(m.error()))
        show(m)
        consumer.commit(m, asynchronous=False)
    consumer.close()


def committed(c):
    consumer = ck.Consumer({"bootstrap.servers": c["brokers"], "group.id": c["group"]})
    for p in consumer.committed([ck.TopicPartition(c["topic"], i) for i in range(c["partitions"])], 30):
        say(partition=p.partition, offset=p.offset if p.offset >= 0 else -1, end=consumer.get_watermark_offsets(p, 30)[1])
    consumer.close()


def admin(c):
    a = ckadmin.AdminClient({"bootstrap.servers": c["brokers"]})
    resource = ckadmin.ConfigResource(ckadmin.ConfigResource.Type.TOPIC, c["topic"])
    what = c["what"]
    if what == "create":
        a.create_topics([ckadmin.NewTopic(c["topic"], c["partitions"], 1, config=c["config"])])[c["topic"]].result(30)
    elif what == "describe":
        t = a.list_topics(timeout=30).topics.get(c["topic"])
        settings = {}
        if t is not None and not t.error:
            settings = {k: v.value for k, v in a.describe_configs([resource])[resource].result(30).items()}
        say(partitions=len(t.partitions) if t else 0, config=settings)
        return
    elif what == "alter":
        for name, value in c["config"].items():
            resource.add_incremental_config(ckadmin.ConfigEntry(name, value, incremental_operation=ckadmin.AlterConfigOpType.SET))
        a.incremental_alter_configs([resource])[resource].result(30)
    elif what == "grow":
        a.create_partitions([ckadmin.NewPartitions(c["topic"], c["partitions"])])[c["topic"]].result(30)
    elif what == "delete":
        a.delete_topics([c["topic"]])[c["topic"]].result(30)
    say(ok=True)
