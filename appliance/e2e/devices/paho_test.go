//go:build interop

package devices

import (
	"fmt"
	"maps"
	"testing"
)

// paho publishes with MQTT 5 at every level, and what it sent is in the log with its
// user properties, each message once.
func TestPahoPublish(t *testing.T) {
	p := start(t)
	for qos := range 3 {
		t.Run(fmt.Sprint("QoS", qos), func(t *testing.T) {
			device := fmt.Sprint("paho", qos)
			o := order{Do: "publish", Server: p.MQTT, Topic: "telemetry/" + device + "/temp", QoS: qos, Prefix: "v", Count: 200, User: map[string]string{"unit": "C"}}
			acks := drive(t, python, o)
			if len(acks) != 200 {
				t.Fatalf("%d acks", len(acks))
			}
			for _, a := range acks {
				if a.Reason != 0 {
					t.Fatalf("%s is acked with reason %#x", a.Value, a.Reason)
				}
			}
			records := ofDevice(awaitDevice(t, p, device, 200), device)
			for i, r := range records {
				if string(r.Value) != fmt.Sprint("v-", i) || header(r, "unit") != "C" || header(r, "hw-subject") != "telemetry."+device+".temp" {
					t.Fatalf("record %d is %q with %v", i, r.Value, r.Headers)
				}
			}
		})
	}
}

// A session that lasts gets what it missed, also over a restart of the box; a
// retained message comes to who subscribes later, and a will when a client is lost.
func TestPahoSessions(t *testing.T) {
	p := start(t)
	session := order{Do: "subscribe", Server: p.MQTT, Client: "press3", Session: 600, Filter: "commands/press3/#", QoS: 1}
	if got := drive(t, python, session); len(got) != 1 || got[0].Present {
		t.Fatalf("the first time: %+v", got)
	}
	drive(t, python, order{Do: "publish", Server: p.MQTT, Topic: "commands/press3/speed", QoS: 1, Prefix: "c", Count: 3})
	restart(t, p)
	drive(t, python, order{Do: "publish", Server: p.MQTT, Topic: "commands/press3/speed", QoS: 1, Prefix: "d", Count: 2})
	session.Count, session.Filter = 5, ""
	got := drive(t, python, session)
	if len(got) != 6 || !got[0].Present {
		t.Fatalf("the second time: %+v", got)
	}
	for i, want := range []string{"c-0", "c-1", "c-2", "d-0", "d-1"} {
		if got[i+1].Value != want || got[i+1].Topic != "commands/press3/speed" {
			t.Errorf("message %d is %+v, want %s", i, got[i+1], want)
		}
	}
}

func TestPahoRetained(t *testing.T) {
	p := start(t)
	drive(t, python, order{Do: "publish", Server: p.MQTT, Topic: "state/press3", QoS: 1, Prefix: "on", Count: 1, Retain: true})
	listen := order{Do: "subscribe", Server: p.MQTT, Filter: "state/#", QoS: 1, Count: 1}
	for _, when := range []string{"before", "after"} {
		if got := drive(t, python, listen); len(got) != 2 || got[1].Value != "on-0" || !got[1].Retain {
			t.Errorf("%s a restart: %+v", when, got)
		}
		restart(t, p)
	}
}

// Members of a shared subscription get each message once, together.
func TestPahoShares(t *testing.T) {
	p := start(t)
	got := drive(t, python, order{Do: "share", Server: p.MQTT, Filter: "$share/g/telemetry/#", Topic: "telemetry/shared/temp", QoS: 1, Prefix: "s", Count: 50})
	seen, by := map[string]int{}, map[string]int{}
	for _, e := range got {
		if e.Topic != "" { // else it is an ack
			seen[e.Value]++
			by[e.Topic]++
		}
	}
	if len(seen) != 50 || len(by) != 2 {
		t.Errorf("%d values by %v", len(seen), by)
	}
	for value := range maps.Keys(seen) {
		if seen[value] != 1 {
			t.Errorf("%s came %d times", value, seen[value])
		}
	}
}

// NATS hears MQTT, and MQTT hears NATS.
func TestNATSAndMQTTHearEachOther(t *testing.T) {
	p := start(t)
	heard := subscribe(t, p, "*.both.>")
	drive(t, python, order{Do: "publish", Server: p.MQTT, Topic: "telemetry/both/mqtt", QoS: 1, Prefix: "m", Count: 1})
	if got := heard(); got != "m-0" {
		t.Errorf("the NATS subscriber heard %q", got)
	}
	d := launch(t, python, order{Do: "subscribe", Server: p.MQTT, Filter: "telemetry/both/#", QoS: 1, Count: 2})
	d.ready()
	runNATS(t, p, "pub", "telemetry.both.nats", "core")
	runNATS(t, p, "request", "--raw", "telemetry.both.nats", "acked")
	for i, want := range []string{"core", "acked"} {
		if e := d.next(); e.Value != want || e.Topic != "telemetry/both/nats" {
			t.Errorf("message %d to the MQTT subscriber is %+v, want %s", i, e, want)
		}
	}
	for _, device := range []string{"both"} {
		if n := len(ofDevice(awaitDevice(t, p, device, 3), device)); n != 3 {
			t.Errorf("%d records, want each message once", n)
		}
	}
}

// A client that is lost leaves its will.
func TestPahoWill(t *testing.T) {
	p := start(t)
	d := launch(t, python, order{Do: "subscribe", Server: p.MQTT, Filter: "wills/#", QoS: 1, Count: 1})
	d.ready()
	drive(t, python, order{Do: "die", Server: p.MQTT, Will: "wills/press3"})
	if e := d.next(); e.Topic != "wills/press3" || e.Value != "gone" {
		t.Errorf("the will is %+v", e)
	}
}
