// kafkajs. The command is one JSON text, answers go out as JSON lines. See the Go
// package above this directory for what each command means.
'use strict'

const kafkajs = require('kafkajs')
const { Kafka, CompressionTypes, CompressionCodecs, Partitioners, logLevel } = kafkajs

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => {
  const lz4 = require('lz4js')
  return {
    compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
  }
}
const zstd = new Promise((resolve) => require('zstd-codec').ZstdCodec.run((z) => resolve(new z.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
})

const codecs = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
}

const connect = (c) => new Kafka({ clientId: 'interop', brokers: [c.brokers], logLevel: logLevel.NOTHING, retry: { retries: 5 } })

const show = (partition, m) =>
  say({ partition, offset: Number(m.offset), key: m.key.toString(), value: m.value.toString(), time: Number(m.timestamp) })

const commands = {
  async version() {
    say({ version: 'kafkajs ' + require('kafkajs/package.json').version })
  },

  async produce(c) {
    const producer = connect(c).producer({
      createPartitioner: Partitioners.DefaultPartitioner, idempotent: Boolean(c.idempotent), maxInFlightRequests: c.idempotent ? 1 : undefined,
      transactionalId: c.transaction,
    })
    await producer.connect()
    const messages = []
    for (let i = 0; i < c.count; i++) {
      const m = { key: `k${i % 3}`, value: `${c.prefix}-${i}`, timestamp: String(c.time + 1000 * i) }
      if (c.partition !== undefined && c.partition >= 0) m.partition = c.partition
      messages.push(m)
    }
    if (c.transaction) {
      const t = await producer.transaction()
      await t.send({ topic: c.topic, messages })
    }
    const answers = await producer.send({ topic: c.topic, messages, compression: codecs[c.codec], acks: c.acks === undefined ? -1 : c.acks })
    for (const a of answers) say({ partition: a.partition, offset: Number(a.baseOffset), base: true })
    await producer.disconnect()
  },

  // kafkajs reads in groups only: one of its own that commits nothing.
  async read(c) {
    const kafka = connect(c)
    const consumer = kafka.consumer({ groupId: `read-${process.pid}-${Date.now()}` })
    let offset = c.offset
    const admin = kafka.admin()
    await admin.connect()
    const ends = (await admin.fetchTopicOffsets(c.topic)).find((p) => p.partition === c.partition)
    if (c.at === 'beginning') offset = ends.low
    if (c.at === 'end') offset = ends.high
    if (c.at === 'time') offset = (await admin.fetchTopicOffsetsByTimestamp(c.topic, c.time)).find((p) => p.partition === c.partition).offset
    await admin.disconnect()
    await consumer.connect()
    await consumer.subscribe({ topics: [c.topic] })
    let n = 0
    await new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, (e) => reject(e.payload.error))
      consumer.on(consumer.events.GROUP_JOIN, () => say({ ready: true }))
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          if (partition !== c.partition || n >= c.count || Number(message.offset) < Number(offset)) return
          show(partition, message)
          if (++n === c.count) resolve()
        },
      }).catch(reject)
      consumer.seek({ topic: c.topic, partition: c.partition, offset: String(offset) })
    })
    await consumer.disconnect()
  },

  async group(c) {
    const consumer = connect(c).consumer({
      groupId: c.group, sessionTimeout: c.session, heartbeatInterval: 1000, rebalanceTimeout: 10000, maxWaitTimeInMs: 200,
    })
    consumer.on(consumer.events.GROUP_JOIN, (e) => say({ assigned: (e.payload.memberAssignment[c.topic] || []).sort() }))
    consumer.on(consumer.events.CRASH, (e) => { if (!e.payload.restart) say({ error: String(e.payload.error) }) })
    await consumer.connect()
    await consumer.subscribe({ topics: [c.topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        show(partition, message)
        await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }])
      },
    })
    await new Promise((resolve) => process.stdin.on('end', resolve).resume())
    await consumer.disconnect()
  },

  async committed(c) {
    const admin = connect(c).admin()
    await admin.connect()
    const [found] = await admin.fetchOffsets({ groupId: c.group, topics: [c.topic] })
    const ends = await admin.fetchTopicOffsets(c.topic)
    for (const p of found.partitions.sort((a, b) => a.partition - b.partition)) {
      say({ partition: p.partition, offset: Number(p.offset), end: Number(ends.find((e) => e.partition === p.partition).high) })
    }
    await admin.disconnect()
  },

  async admin(c) {
    const admin = connect(c).admin()
    await admin.connect()
    const configEntries = Object.entries(c.config || {}).map(([name, value]) => ({ name, value }))
    const type = kafkajs.ConfigResourceTypes.TOPIC
    switch (c.what) {
      case 'create':
        await admin.createTopics({ topics: [{ topic: c.topic, numPartitions: c.partitions, replicationFactor: 1, configEntries }] })
        break
      case 'describe': {
        const there = (await admin.listTopics()).includes(c.topic)
        const config = {}
        let partitions = 0
        if (there) {
          partitions = (await admin.fetchTopicMetadata({ topics: [c.topic] })).topics[0].partitions.length
          const d = await admin.describeConfigs({ resources: [{ type, name: c.topic }], includeSynonyms: false })
          for (const e of d.resources[0].configEntries) config[e.configName] = e.configValue
        }
        say({ partitions, config })
        return admin.disconnect()
      }
      case 'alter':
        await admin.alterConfigs({ validateOnly: false, resources: [{ type, name: c.topic, configEntries }] })
        break
      case 'grow':
        await admin.createPartitions({ topicPartitions: [{ topic: c.topic, count: c.partitions }] })
        break
      case 'delete':
        await admin.deleteTopics({ topics: [c.topic] })
        break
    }
    await admin.disconnect()
    say({ ok: true })
  },
}

const command = JSON.parse(process.argv[2])
commands[command.do](command)
  .catch((e) => say({ error: `${e.name}: ${e.message}` }))
  .finally(() => process.stdout.write('', () => process.exit(0)))
