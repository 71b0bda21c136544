package mqtt

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// startOn runs a Server over what store has, until the test ends or stop is called.
func startOn(t *testing.T, store Store, cfg Config) (s *Server, l *log, stop func()) {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	s, err := Listen(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Keep(store)
	l = &log{}
	if err := s.Start(l, l); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(s.Shutdown)
	t.Cleanup(stop)
	return s, l, stop
}

// subscriber is a client with a session that has subscribed, and is away again.
func subscriber(t *testing.T, s *Server, id, filter string, qos, version byte) {
	t.Helper()
	c := dial(t, s, connectOptions{id: id, keep: true, version: version})
	if code := c.subscribe(filter, qos); code != qos {
		t.Fatalf("SUBACK %#x", code)
	}
	c.leave(s, id)
}

// leave disconnects, and waits until the server has noted that.
func (c *client) leave(s *Server, id string) {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	c.ended()
	store := s.state.journal.store.(*memory)
	eventually(c.t, "the session's end noted", func() bool {
		s.mu.Lock()
		for b := range s.clients {
			if b.client.ID == id {
				s.mu.Unlock()
				return false
			}
		}
		s.mu.Unlock()
		store.mu.Lock()
		defer store.mu.Unlock()
		value := latest(store)[stateKey(kindSession, id, "")]
		var session sessionRecord
		if value == nil {
			return true
		}
		_, err := parseStateValue(value, &session)
		return err == nil && session.Left > 0
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not: %s", what)
		}
	}
}

// acknowledges takes a QoS 1 message in.
func (c *client) acknowledges(pk packets.Packet) {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
}

// A session that was away gets what it missed after a restart, in order, and once: also
// when the box ended without a word right after the last acknowledgement.
func TestSessionOutlivesTheServer(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("version%d,killed=%v", version, killed), func(t *testing.T) {
				store := &memory{}
				s, _, stop := startOn(t, store, Config{})
				subscriber(t, s, "press", "press/#", 1, version)
				device := dial(t, s, connectOptions{id: "device"})
				const count = 50
				for i := range count {
					device.publish("press/3", fmt.Sprint(i), 1, uint16(i+1))
				}
				for i := range count {
					device.wants(packets.Puback, uint16(i+1))
				}
				after := store.first(store.len()) // as a kill leaves it
				stop()
				if !killed {
					after = store
				}
				s, l, stop := startOn(t, after, Config{})
				l.await(t, "NATS is listened to for the session", func() bool {
					return slices.Contains(l.patterns, "press.>")
				})
				later := dial(t, s, connectOptions{id: "device"})
				later.publish("press/3", "later", 1, 1)
				later.wants(packets.Puback, 1)
				c := dial(t, s, connectOptions{id: "press", keep: true, version: version})
				if !c.present {
					t.Fatal("there is no session")
				}
				for i := range count {
					c.acknowledges(c.hears("press/3", fmt.Sprint(i), 1))
				}
				c.acknowledges(c.hears("press/3", "later", 1))
				c.nothingCame()
				stop()

				s, _, _ = startOn(t, after, Config{})
				dial(t, s, connectOptions{id: "press", keep: true, version: version}).nothingCame()
			})
		}
	}
}

// A publish is acknowledged after what it leaves with sessions is durable.
func TestAckWaitsForSessions(t *testing.T) {
	store := &memory{}
	s, l, _ := startOn(t, store, Config{})
	subscriber(t, s, "press", "press/#", 1, 5)
	device := dial(t, s, connectOptions{id: "device"})
	store.set(func() { store.hold = true })
	device.publish("press/3", "20", 1, 1)
	l.await(t, "stored", func() bool { return len(l.stored) == 1 })
	eventually(t, "the message given to the store", func() bool {
		return slices.Contains(store.live(), packetKey(kindMessage, "press", 1))
	})
	device.nothingCame()
	store.release()
	device.wants(packets.Puback, 1)
}

// Retained messages come back, the last of each topic, whatever their QoS.
func TestRetainedOutlivesTheServer(t *testing.T) {
	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	device := dial(t, s, connectOptions{id: "device"})
	retain := func(topic, value string, qos byte, id uint16) {
		pk := publishPacket(topic, value, qos, id)
		pk.FixedHeader.Retain = true
		pk.Properties.User = []packets.UserProperty{{Key: "unit", Val: "C"}}
		device.send(pk)
		if qos == 1 {
			device.wants(packets.Puback, id)
		}
	}
	retain("a", "old", 1, 1)
	retain("a", "new", 0, 0)
	retain("b", "here", 1, 2)
	retain("gone", "here", 1, 3)
	retain("gone", "", 1, 4)
	stop()
	s, _, _ = startOn(t, store, Config{})
	c := dial(t, s, connectOptions{id: "c"})
	c.subscribe("a", 1)
	pk := c.hears("a", "new", 0)
	if !pk.FixedHeader.Retain || len(pk.Properties.User) != 1 || pk.Properties.User[0].Val != "C" {
		t.Errorf("retain %v with properties %v", pk.FixedHeader.Retain, pk.Properties.User)
	}
	c.subscribe("b", 1)
	c.hears("b", "here", 1)
	c.subscribe("gone", 1)
	c.nothingCame()
}

// A device that sends a QoS 2 message again after a restart has it stored once, and may
// use the packet id anew when the message was released.
func TestReceivedOnceOverARestart(t *testing.T) {
	store := &memory{}
	s, _, _ := startOn(t, store, Config{})
	device := dial(t, s, connectOptions{id: "device", keep: true})
	device.publish("a", "1", 2, 7)
	device.wants(packets.Pubrec, 7)
	device.publish("a", "2", 2, 8)
	device.wants(packets.Pubrec, 8)
	device.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: 8})
	device.wants(packets.Pubcomp, 8)
	killed := store.first(store.len())

	s, l, _ := startOn(t, killed, Config{})
	device = dial(t, s, connectOptions{id: "device", keep: true})
	again := publishPacket("a", "1", 2, 7)
	again.FixedHeader.Dup = true
	device.send(again)
	device.wants(packets.Pubrec, 7)
	device.publish("a", "3", 2, 8)
	device.wants(packets.Pubrec, 8)
	l.set(func() {
		if !slices.Equal(l.stored, []string{"a 3"}) {
			t.Errorf("stored %v after the restart, want the new message alone", l.stored)
		}
	})
}

// A QoS 2 message that the client has is not sent again after a restart, but released.
func TestDeliveredOnceOverARestart(t *testing.T) {
	store := &memory{}
	s, _, _ := startOn(t, store, Config{})
	c := dial(t, s, connectOptions{id: "c", keep: true})
	c.subscribe("a", 2)
	device := dial(t, s, connectOptions{id: "device"})
	device.publish("a", "1", 2, 1)
	device.wants(packets.Pubrec, 1)
	sent := c.hears("a", "1", 2)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: sent.PacketID})
	c.wants(packets.Pubrel, sent.PacketID)
	killed := store.first(store.len())

	s, _, stop := startOn(t, killed, Config{})
	c = dial(t, s, connectOptions{id: "c", keep: true})
	c.wants(packets.Pubrel, sent.PacketID)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubcomp}, PacketID: sent.PacketID})
	c.nothingCame()
	stop()
	s, _, _ = startOn(t, killed, Config{})
	dial(t, s, connectOptions{id: "c", keep: true}).nothingCame()
}

// What has ended stays ended: a subscription, and a session.
func TestEndedStaysEnded(t *testing.T) {
	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	c := dial(t, s, connectOptions{id: "c", keep: true})
	c.subscribe("a", 1)
	c.subscribe("b", 1)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 5, Filters: packets.Subscriptions{{Filter: "a"}}})
	c.wants(packets.Unsuback, 5)
	c.leave(s, "c")
	subscriber(t, s, "ended", "b", 1, 4)
	device := dial(t, s, connectOptions{id: "device"})
	device.publish("b", "missed", 1, 1)
	device.wants(packets.Puback, 1)
	clean := dial(t, s, connectOptions{id: "ended", version: 4})
	clean.nothingCame()
	clean.leave(s, "ended")
	stop()
	s, _, _ = startOn(t, store, Config{})
	if dial(t, s, connectOptions{id: "ended", keep: true, version: 4}).present {
		t.Error("a session came back that its client had ended")
	}
	device = dial(t, s, connectOptions{id: "device"})
	device.publish("a", "1", 1, 1)
	device.wants(packets.Puback, 1)
	c = dial(t, s, connectOptions{id: "c", keep: true})
	c.acknowledges(c.hears("b", "missed", 1))
	c.nothingCame()
}

// Clients without a session, and QoS 0, write nothing.
func TestNothingToKeep(t *testing.T) {
	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	c := dial(t, s, connectOptions{id: "c"})
	c.subscribe("#", 2)
	device := dial(t, s, connectOptions{id: "device", version: 4})
	device.publish("a", "0", 0, 0)
	c.hears("a", "0", 0)
	device.publish("a", "1", 1, 1)
	device.wants(packets.Puback, 1)
	c.acknowledges(c.hears("a", "1", 1))
	device.publish("a", "2", 2, 2)
	device.wants(packets.Pubrec, 2)
	stop()
	if store.len() > 0 {
		t.Errorf("%d records written: %v", store.len(), store.keys)
	}
}

// Wherever a power cut ends the store, the server starts, and what it has is what was
// there at some moment: messages from the first on, none without its session.
func TestCutAnywhere(t *testing.T) {
	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	subscriber(t, s, "c", "a", 1, 5)
	device := dial(t, s, connectOptions{id: "device"})
	for i := range 3 {
		device.publish("a", fmt.Sprint(i), 1, uint16(i+1))
		device.wants(packets.Puback, uint16(i+1))
	}
	c := dial(t, s, connectOptions{id: "c", keep: true})
	for range 3 {
		c.acknowledges(c.receive())
	}
	c.nothingCame()
	dial(t, s, connectOptions{id: "c"}).nothingCame() // which ends the session
	stop()
	for cut := range store.len() + 1 {
		after := store.first(cut)
		live := after.live()
		var values []string
		for key, value := range latest(after) { // nobody writes to it yet
			if n, err := parseStateKey(key); err != nil {
				t.Fatal(err)
			} else if !slices.Contains(live, stateKey(kindSession, n.client, "")) {
				t.Errorf("cut at %d: %s is there without its session", cut, key)
			} else if n.kind == kindMessage {
				var m messageRecord
				payload, _ := parseStateValue(value, &m)
				values = append(values, string(payload))
			}
		}
		slices.Sort(values)
		s, _, stop := startOn(t, after, Config{})
		c := dial(t, s, connectOptions{id: "c", keep: true})
		if want := slices.Contains(live, stateKey(kindSession, "c", "")); c.present != want {
			t.Errorf("cut at %d: session present %v, want %v", cut, c.present, want)
		}
		for _, value := range values {
			c.acknowledges(c.hears("a", value, 1))
		}
		c.nothingCame()
		stop()
	}
	if live := store.live(); len(live) > 0 {
		t.Errorf("%v are left of a session that has ended", live)
	}
}

// Damage is left out, and costs nothing else.
func TestDamagedState(t *testing.T) {
	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	subscriber(t, s, "c", "a", 1, 5)
	device := dial(t, s, connectOptions{id: "device"})
	device.publish("a", "1", 1, 1)
	device.wants(packets.Puback, 1)
	stop()
	message := slices.Index(store.keys, packetKey(kindMessage, "c", 1))
	bad := append([]byte{valueVersion, 0xff, 0xff, 0xff, 0xff, 0x0f}, store.values[message]...)
	for _, key := range []string{"", "x/1/c/", "m/1/c/0", "m/9/c/1", "m/-1/c/1", "q/1/c/70000", stateKey(kindSession, "d", ""), retainedKey("r")} {
		store.keys, store.values = append(store.keys, key), append(store.values, bad)
	}
	s, _, _ = startOn(t, store, Config{})
	c := dial(t, s, connectOptions{id: "c", keep: true})
	c.acknowledges(c.hears("a", "1", 1))
	c.nothingCame()
	if got := testutil.ToFloat64(s.state.metrics.skipped); got != 8 {
		t.Errorf("%v records skipped, want 8", got)
	}
}

// A session that has expired goes; how long it was away counts while the box was up.
func TestExpiry(t *testing.T) {
	const day = 24 * time.Hour
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for name, tc := range map[string]struct {
		s      sessionRecord
		lastUp int64
		want   time.Duration
	}{
		"connected":       {sessionRecord{5, 600, 0}, at, 600 * time.Second},
		"away":            {sessionRecord{5, 600, at}, at + 100, 500 * time.Second},
		"expired":         {sessionRecord{5, 600, at}, at + 700, -100 * time.Second},
		"no clock":        {sessionRecord{5, 600, 1000}, at, 600 * time.Second},
		"clock went back": {sessionRecord{5, 600, at}, at - 9999, 600 * time.Second},
		"beyond the most": {sessionRecord{5, 4294967295, 0}, at, day},
	} {
		if got := tc.s.left(tc.lastUp, day); got != tc.want {
			t.Errorf("%s: %v left, want %v", name, got, tc.want)
		}
	}

	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	subscriber(t, s, "c", "a", 1, 5) // 600 seconds
	stop()
	records := store.len()
	store.set(func() { store.at = time.Now().Add(500 * time.Second).UnixMilli() })
	s, _, stop = startOn(t, store, Config{})
	s.state.expire(time.Now().Add(90 * time.Second))
	if _, there := s.mochi.Clients.Get("c"); !there {
		t.Fatal("the session went before its time")
	}
	s.state.expire(time.Now().Add(110 * time.Second))
	if _, there := s.mochi.Clients.Get("c"); there {
		t.Error("the session outlives its time")
	}
	if subs := s.mochi.Topics.Subscribers("a").Subscriptions; len(subs) > 0 {
		t.Errorf("subscriptions %v are left", subs)
	}
	stop()
	if live := store.live(); len(live) > 0 || store.len() == records {
		t.Errorf("%v are left in the store", live)
	}

	store = store.first(records) // and once more, with a box that was up for too long
	store.at = time.Now().Add(700 * time.Second).UnixMilli()
	s, _, stop = startOn(t, store, Config{})
	if subs := s.mochi.Topics.Subscribers("a").Subscriptions; len(subs) > 0 {
		t.Error("an expired session is restored")
	}
	stop()
	if live := store.live(); len(live) > 0 {
		t.Errorf("%v are left in the store of an expired session", live)
	}
}

// A connection that took a session over has its messages: the old one's end takes
// nothing away.
func TestTakenOver(t *testing.T) {
	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	subscriber(t, s, "c", "a", 1, 4)
	device := dial(t, s, connectOptions{id: "device"})
	device.publish("a", "1", 1, 1)
	device.wants(packets.Puback, 1)
	first := dial(t, s, connectOptions{id: "c", keep: true, version: 4})
	first.hears("a", "1", 1) // without an acknowledgement
	second := dial(t, s, connectOptions{id: "c", keep: true, version: 4})
	second.hears("a", "1", 1)
	first.ended()
	stop()
	s, _, _ = startOn(t, store, Config{})
	third := dial(t, s, connectOptions{id: "c", keep: true, version: 4})
	third.acknowledges(third.hears("a", "1", 1))
	third.nothingCame()
}

// What a session missed comes in the order in which it was published, though packet ids
// are used again and do not tell.
func TestRestoredInOrder(t *testing.T) {
	store := &memory{}
	s, _, stop := startOn(t, store, Config{})
	subscriber(t, s, "c", "a", 1, 5)
	device := dial(t, s, connectOptions{id: "device"})
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			device.publish("a", fmt.Sprint(i), 1, uint16(i+1))
			device.wants(packets.Puback, uint16(i+1))
		}
	}
	publish(0, 6)
	c := dial(t, s, connectOptions{id: "c", keep: true})
	for i := range 6 {
		if pk := c.hears("a", fmt.Sprint(i), 1); i < 4 {
			c.acknowledges(pk)
		}
	}
	c.nothingCame()
	c.leave(s, "c")
	publish(6, 9)
	stop()
	s, _, _ = startOn(t, store, Config{})
	c = dial(t, s, connectOptions{id: "c", keep: true})
	for i := 4; i < 9; i++ {
		c.acknowledges(c.hears("a", fmt.Sprint(i), 1))
	}
	c.nothingCame()
}
