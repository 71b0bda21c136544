"""aiokafka."""

import asyncio

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from driver import records, say, stopped_by_stdin


def version(c):
    say(version="aiokafka " + aiokafka.__version__)


def produce(c):
    asyncio.run(_produce(c))


async def _produce(c):
    codec = None if c["codec"] == "none" else c["codec"]
    conf = {"bootstrap_servers": c["brokers"], "compression_type": codec, "linger_ms": 50, "enable_idempotence": bool(c.get("idempotent"))}
    if not c.get("idempotent"):
        conf["acks"] = {-1: "all"}.get(c.get("acks", -1), c.get("acks", -1))
    if c.get("transaction"):
        conf.update(transactional_id=c["transaction"], enable_idempotence=True, acks="all")
    p = AIOKafkaProducer(**conf)
    await asyncio.wait_for(p.start(), 30)
    if c.get("transaction"):
        await p.begin_transaction()
    partition = c.get("partition", -1)
    sent = [
        await p.send(c["topic"], value=value.encode(), key=key.encode(), timestamp_ms=at, partition=None if partition < 0 else partition)
        for key, value, at in records(c)
    ]
    for f in sent:
        m = await f
        say(partition=m.partition, offset=m.offset)
    await p.stop()


def show(m):
    say(partition=m.partition, offset=m.offset, key=m.key.decode(), value=m.value.decode(), time=m.timestamp)


def read(c):
    asyncio.run(_read(c))


async def _read(c):
    consumer = AIOKafkaConsumer(bootstrap_servers=c["brokers"], enable_auto_commit=False, isolation_level=c.get("isolation", "read_committed"))
    await consumer.start()
    p = TopicPartition(c["topic"], c["partition"])
    consumer.assign([p])
    if c["at"] == "beginning":
        await consumer.seek_to_beginning(p)
    elif c["at"] == "end":
        await consumer.seek_to_end(p)
        await consumer.position(p)
    elif c["at"] == "time":
        found = await consumer.offsets_for_times({p: c["time"]})
        consumer.seek(p, found[p].offset)
    else:
        consumer.seek(p, c["offset"])
    say(ready=True)
    for _ in range(c["count"]):
        show(await consumer.getone())
    await consumer.stop()


def group(c):
    asyncio.run(_group(c))


async def _group(c):
    stop = stopped_by_stdin()
    extra = {"group_instance_id": c["instance"]} if c.get("instance") else {}
    consumer = AIOKafkaConsumer(
        c["topic"],
        bootstrap_servers=c["brokers"],
        group_id=c["group"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=c["session"],
        heartbeat_interval_ms=1000,
        **extra,
    )
    await consumer.start()
    known = None
    while not stop.is_set():
        polled = await consumer.getmany(timeout_ms=200)
        held = sorted(p.partition for p in consumer.assignment())
        if held != known:
            known = held
            say(assigned=held)
        for batch in polled.values():
            for m in batch:
                show(m)
        if polled:
            await consumer.commit()
    await consumer.stop()


def committed(c):
    asyncio.run(_committed(c))


async def _committed(c):
    consumer = AIOKafkaConsumer(bootstrap_servers=c["brokers"], group_id=c["group"], enable_auto_commit=False)
    await consumer.start()
    parts = [TopicPartition(c["topic"], i) for i in range(c["partitions"])]
    ends = await consumer.end_offsets(parts)
    for p in parts:
        at = await consumer.committed(p)
        say(partition=p.partition, offset=-1 if at is None else at, end=ends[p])
    await consumer.stop()


def admin(c):
    asyncio.run(_admin(c))


async def _admin(c):
    a = AIOKafkaAdminClient(bootstrap_servers=c["brokers"])
    await a.start()
    what = c["what"]
    if what == "create":
        answer = await a.create_topics([NewTopic(c["topic"], c["partitions"], 1, topic_configs=c["config"])])
        check(answer.topic_errors)
    elif what == "describe":
        described = [t for t in await a.describe_topics([c["topic"]]) if not t["error_code"]] if c["topic"] in await a.list_topics() else []
        settings = {}
        if described:
            for answer in await a.describe_configs([ConfigResource(ConfigResourceType.TOPIC, c["topic"])]):
                for r in answer.resources:
                    settings.update({entry[0]: entry[1] for entry in r[4]})
        say(partitions=len(described[0]["partitions"]) if described else 0, config=settings)
        return
    elif what == "alter":
        await a.alter_configs([ConfigResource(ConfigResourceType.TOPIC, c["topic"], c["config"])])
    elif what == "grow":
        check((await a.create_partitions({c["topic"]: NewPartitions(c["partitions"])})).topic_errors)
    elif what == "delete":
        check((await a.delete_topics([c["topic"]])).topic_error_codes)
    await a.close()
    say(ok=True)


def check(errors):
    for e in errors:
        if e[1]:
            raise RuntimeError("error code %d for %s" % (e[1], e[0]))
