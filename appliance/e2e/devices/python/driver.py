"""paho with MQTT 5. The command is one JSON text, answers go out as JSON lines. See
the Go tests above this directory for what each command means."""

import json
import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 60


def say(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def properties(kind, user=None, **fields):
    p = Properties(kind)
    for name, value in fields.items():
        setattr(p, name, value)
    if user:
        p.UserProperty = sorted(user.items())
    return p


class Client:
    """A connected client. Messages come out of a queue."""

    def __init__(self, c):
        self.messages, self.acks, self.subscribed = queue.Queue(), queue.Queue(), queue.Queue()
        self.connected, self.present = threading.Event(), False
        self.failure = None
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=c.get("client", ""), protocol=mqtt.MQTTv5)
        self.client.max_inflight_messages_set(20)
        self.client.on_connect = self.on_connect
        self.client.on_message = lambda _c, _u, m: self.messages.put(m)
        self.client.on_publish = lambda _c, _u, mid, reason, _p: self.acks.put((mid, reason.value))
        self.client.on_subscribe = lambda _c, _u, _mid, reasons, _p: self.subscribed.put([r.value for r in reasons])
        if c.get("will"):
            self.client.will_set(c["will"], "gone", qos=1)
        if c.get("name"):
            self.client.username_pw_set(c["name"], c.get("password"))
        host, port = c["server"].rsplit(":", 1)
        self.client.connect(
            host, int(port), clean_start=not c.get("session"),
            properties=properties(PacketTypes.CONNECT, SessionExpiryInterval=c.get("session", 0)),
        )
        self.client.loop_start()
        if not self.connected.wait(PATIENCE):
            raise TimeoutError("no CONNACK")
        if self.failure:
            raise ConnectionError(self.failure)

    def on_connect(self, _client, _userdata, flags, reason, _properties):
        self.present = flags.session_present
        if reason.is_failure:
            self.failure = str(reason)
        self.connected.set()

    def subscribe(self, filter, qos):
        self.client.subscribe(filter, qos=qos)
        reasons = self.subscribed.get(timeout=PATIENCE)
        if reasons != [qos]:
            raise RuntimeError(f"SUBACK {reasons}")

    def tell(self, count):
        for _ in range(count):
            m = self.messages.get(timeout=PATIENCE)
            user = dict(getattr(m.properties, "UserProperty", []))
            say(topic=m.topic, value=m.payload.decode(), qos=m.qos, retain=m.retain, user=user)

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


def publish(c):
    client = Client(c)
    values = {}
    for i in range(c["count"]):
        value = f"{c['prefix']}-{i}"
        info = client.client.publish(c["topic"], value, qos=c["qos"], retain=c.get("retain", False),
                                     properties=properties(PacketTypes.PUBLISH, user=c.get("user")))
        values[info.mid] = value
    for _ in range(c["count"]):
        mid, reason = client.acks.get(timeout=PATIENCE)
        say(value=values.get(mid, "?"), reason=reason)
    client.end()


def subscribe(c):
    """Subscribes, says so, tells count messages, and ends in order."""
    client = Client(c)
    if c.get("filter"):
        client.subscribe(c["filter"], c["qos"])
    say(ready=True, present=client.present)
    client.tell(c["count"])
    client.end()


def die(c):
    """Connects with a will, and goes without a word."""
    client = Client(c)
    say(ready=True)
    client.client.socket().close()
    client.client.loop_stop()


def share(c):
    """Two clients share a subscription to what a third publishes: each message goes to one."""
    members = [Client(c), Client(c)]
    for m in members:
        m.subscribe(c["filter"], c["qos"])
    publish(c)
    got = 0
    while got < c["count"]:
        for number, m in enumerate(members):
            try:
                message = m.messages.get(timeout=0.05)
            except queue.Empty:
                continue
            say(value=message.payload.decode(), topic=f"member {number}")
            got += 1
    for m in members:
        m.end()


def main():
    c = json.loads(sys.argv[1])
    try:
        {"publish": publish, "subscribe": subscribe, "die": die, "share": share}[c["do"]](c)
    except Exception as err:
        say(error=f"{type(err).__name__}: {err}")


main()
