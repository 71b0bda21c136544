// nats.js. The command is one JSON text, answers go out as JSON lines. See the Go
// tests above this directory for what each command means.
import { connect } from '@nats-io/transport-node'
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const c = JSON.parse(process.argv[2])
const nc = await connect({ servers: c.server })
const js = jetstream(nc)

const told = (m) => say({ subject: m.subject, value: m.string(), sequence: m.seq })

const commands = {
  async publish() {
    for (let i = 0; i < c.count; i++) {
      const ack = await js.publish(c.subject, `${c.prefix}-${i}`, c.ids ? { msgID: `${c.prefix}-${i}` } : {})
      say({ sequence: ack.seq, stream: ack.stream, duplicate: ack.duplicate === true })
    }
  },
  async info() {
    const info = await (await jetstreamManager(nc)).streams.info(c.stream)
    say({ stream: info.config.name, sequence: info.state.last_seq })
  },
  async ordered() {
    const consumer = await js.consumers.get(c.stream, { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: c.sequence })
    const messages = await consumer.consume()
    let left = c.count
    for await (const m of messages) {
      told(m)
      if (--left === 0) break
    }
  },
  async durable() {
    const manager = await jetstreamManager(nc)
    await manager.consumers.add(c.stream, { durable_name: c.durable, ack_policy: AckPolicy.Explicit })
    const consumer = await js.consumers.get(c.stream, c.durable)
    for (let i = 0; i < c.count; i++) {
      const m = await consumer.next({ expires: 30000 })
      if (m === null) throw new Error(`no message ${i}`)
      if (!await m.ackAck()) throw new Error(`ack ${i} is not confirmed`)
      told(m)
    }
  },
  async direct() {
    const manager = await jetstreamManager(nc)
    for (let i = 0; i < c.count; i++) told(await manager.direct.getMessage(c.stream, { seq: c.sequence + i }))
  },
}

try {
  await commands[c.do]()
} catch (err) {
  say({ error: String(err) })
}
await nc.close()
