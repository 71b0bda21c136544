package mqtt

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headwater/headwater/bridge/subject"
)

func netDial(s *Server) (net.Conn, error)   { return net.Dial("tcp", s.Addr().String()) }
func newReader(conn net.Conn) *bufio.Reader { return bufio.NewReader(conn) }

// MQTT subscribers hear NATS clients, once each, by whatever filters; NATS is listened
// to for what is wanted, and no more.
func TestHearsNATS(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "listener"})
	for _, filter := range []string{"commands/#", "commands/+/speed", "commands/#", "$share/g/other/x", "no subject/#"} {
		if code := c.subscribe(filter, 1); code > 2 {
			t.Fatalf("SUBACK %#x for %s", code, filter)
		}
	}
	if want := []string{"commands", "commands.>", "commands.*.speed", "other.x"}; !slices.Equal(l.patterns, want) {
		t.Fatalf("listened for %v, want %v", l.patterns, want)
	}
	for sid := range l.patterns {
		if subject.Pattern(l.patterns[sid]).Matches([]byte("commands.press3.speed")) {
			s.Heard(sid, []byte("commands.press3.speed"), []byte("NATS/1.0\r\nunit: rpm\r\n\r\n"), []byte("10"))
		}
	}
	pk := c.hears("commands/press3/speed", "10", 1)
	if len(pk.Properties.User) != 1 || pk.Properties.User[0] != (packets.UserProperty{Key: "unit", Val: "rpm"}) {
		t.Errorf("user properties %v", pk.Properties.User)
	}
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
	c.nothingCame()
}

// Subscriptions that nobody wants any more make room for others.
func TestFiltersAreBounded(t *testing.T) {
	s, l := start(t, Config{MaxFilters: 2})
	gone := dial(t, s, connectOptions{id: "gone"})
	gone.subscribe("a", 0)
	gone.subscribe("b", 0)
	gone.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 3, Filters: packets.Subscriptions{{Filter: "a"}}})
	gone.wants(packets.Unsuback, 3)
	gone.subscribe("c", 0)
	if !slices.Equal(l.patterns, []string{"a", "b", "c"}) || !slices.Equal(l.ended, []int{0}) {
		t.Errorf("listened for %v, ended %v", l.patterns, l.ended)
	}
	gone.subscribe("d", 0)
	if len(l.patterns) != 3 {
		t.Errorf("listened for %v, beyond the bound", l.patterns)
	}
}

// A session that lasts gets what came while its client was away; retained messages
// come to later subscribers; a will to who listens, and into the log.
func TestSessionRetainedWill(t *testing.T) {
	s, l := start(t, Config{})
	c := dial(t, s, connectOptions{id: "press3", keep: true})
	c.subscribe("commands/press3/#", 1)
	c.conn.Close()
	sender := dial(t, s, connectOptions{id: "sender", will: "wills/sender", willPayload: "gone"})
	sender.publish("commands/press3/speed", "1", 1, 1)
	sender.wants(packets.Puback, 1)
	s.Publish([]byte("commands.press3.speed"), nil, []byte("2"))
	c = dial(t, s, connectOptions{id: "press3", keep: true})
	got := []string{string(c.receive().Payload), string(c.receive().Payload)}
	if !slices.Equal(sorted(got), []string{"1", "2"}) {
		t.Errorf("it missed %v", got)
	}

	retained := publishPacket("state/press3", "on", 1, 2)
	retained.FixedHeader.Retain = true
	sender.send(retained)
	sender.wants(packets.Puback, 2)
	late := dial(t, s, connectOptions{id: "late"})
	late.subscribe("wills/#", 1)
	late.subscribe("state/#", 1)
	if pk := late.hears("state/press3", "on", 1); !pk.FixedHeader.Retain {
		t.Error("what was retained does not say so")
	}
	sender.conn.Close()
	late.hears("wills/sender", "gone", 1)
	l.await(t, "the will is stored", func() bool { return slices.Contains(l.best, "wills.sender gone") })
}

// Members of a shared subscription get each message once, together.
func TestShared(t *testing.T) {
	s, _ := start(t, Config{})
	members := []*client{dial(t, s, connectOptions{id: "a"}), dial(t, s, connectOptions{id: "b"})}
	for _, m := range members {
		m.subscribe("$share/g/telemetry/#", 0)
	}
	c := dial(t, s, connectOptions{id: "press3"})
	const count = 40
	for i := range count {
		c.publish("telemetry/press3/temp", fmt.Sprint(i), 1, uint16(i+1))
		c.wants(packets.Puback, uint16(i+1))
	}
	seen := make(chan string, 2*count)
	for _, m := range members {
		go func() {
			for {
				pk, err := m.tryReceive(patience)
				if err != nil {
					return // the test is over
				}
				seen <- string(pk.Payload)
			}
		}()
	}
	times := map[string]int{}
	for range count {
		select {
		case value := <-seen:
			times[value]++
		case <-time.After(patience):
			t.Fatalf("came: %v", times)
		}
	}
	if len(times) != count {
		t.Errorf("not once each: %v", times)
	}
}

// one lets a user in who may publish below telemetry.<name> and hear commands.<name>.
type one struct{ name string }

func (o one) Login(name string, password []byte, _ *tls.ConnectionState) (Identity, error) {
	if name != o.name || string(password) != "secret" {
		return nil, errors.New("no such user")
	}
	return o, nil
}

func (o one) MayPublish(subject []byte) bool {
	return strings.HasPrefix(string(subject), "telemetry."+o.name+".")
}

func (o one) MaySubscribe(pattern string) bool {
	return pattern == "commands."+o.name || strings.HasPrefix(pattern, "commands."+o.name+".")
}

// Users may do what they may.
func TestAccess(t *testing.T) {
	s, l := start(t, Config{Access: one{"press3"}})
	for _, version := range []byte{4, 5} {
		if _, code := tryDial(t, s, connectOptions{id: "x", user: "press3", password: "wrong", version: version}); code == 0 {
			t.Error("let in by a wrong password")
		}
		if _, code := tryDial(t, s, connectOptions{id: "x", version: version}); code == 0 {
			t.Error("let in without a password")
		}
	}
	c := dial(t, s, connectOptions{id: "press3", user: "press3", password: "secret", will: "telemetry/other/x"})
	c.publish("telemetry/press3/temp", "1", 1, 1)
	if pk := c.wants(packets.Puback, 1); pk.ReasonCode != 0 {
		t.Errorf("its own topic: %#x", pk.ReasonCode)
	}
	c.publish("telemetry/other/temp", "2", 1, 2)
	if pk := c.wants(packets.Puback, 2); pk.ReasonCode != packets.ErrNotAuthorized.Code {
		t.Errorf("another's topic: %#x", pk.ReasonCode)
	}
	c.publish("telemetry/other/temp", "3", 2, 3)
	if pk := c.wants(packets.Pubrec, 3); pk.ReasonCode != packets.ErrNotAuthorized.Code {
		t.Errorf("another's topic: %#x", pk.ReasonCode)
	}
	c.publish("telemetry/other/temp", "4", 0, 0)
	c.publish("Living Room/temp", "5", 0, 0)
	for filter, want := range map[string]bool{"commands/press3/#": true, "commands/#": false, "#": false, "commands/+": false, "no subject": false} {
		if code := c.subscribe(filter, 1); code < 0x80 != want {
			t.Errorf("SUBACK %#x for %s", code, filter)
		}
	}
	old := dial(t, s, connectOptions{id: "old", user: "press3", password: "secret", version: 4})
	old.publish("telemetry/other/temp", "6", 1, 1)
	old.ended()
	c.conn.Close()
	other := dial(t, s, connectOptions{id: "press3", user: "press3", password: "secret"}) // the will has gone by now
	other.nothingCame()
	if !slices.Equal(l.stored, []string{"telemetry.press3.temp 1"}) || len(l.best) != 0 {
		t.Errorf("stored %v, best effort %v", l.stored, l.best)
	}
}

// Connections beyond the limit are closed, and one that ends makes room.
func TestConnectionsAreBounded(t *testing.T) {
	s, _ := start(t, Config{MaxConnections: 2})
	first := dial(t, s, connectOptions{id: "1"})
	dial(t, s, connectOptions{id: "2"})
	third, err := netDial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	(&client{t: t, conn: third, r: newReader(third)}).ended()
	first.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	first.ended()
	dial(t, s, connectOptions{id: "3"})
}

func TestSubjectOf(t *testing.T) {
	for topic, want := range map[string]string{
		"a": "a", "a/b/c": "a.b.c", "": "", "/a": "", "a/": "", "a//b": "", "a.b/c": "", "a b": "", "a/*": "", ">": "", "$SYS/x": "",
		"_INBOX/x": "", "_INBOX": "", "_INBOXES/x": "_INBOXES.x", "ä/ö": "ä.ö", "a\tb": "",
	} {
		if got, ok := subjectOf(nil, topic); ok != (want != "") || ok && string(got) != want {
			t.Errorf("%q: %q, %v, want %q", topic, got, ok, want)
		}
	}
	for subject, want := range map[string]string{"a.b": "a/b", "$JS.x": "", "_INBOX.x": "", "a/b": "", "a.+": "", "a.#": "", "": ""} {
		if got, ok := topicOf([]byte(subject)); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v, want %q", subject, got, ok, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for filter, want := range map[string]string{
		"a/b": "a.b", "a/+": "a.*", "+": "*", "#": ">", "a/#": "a a.>", "a/+/#": "a.* a.*.>", "$share/g/a/#": "a a.>", "$share/g": "",
		"$SYS/#": "", "a b/#": "", "a//b": "", "_INBOX/#": "", "+/x": "*.x",
	} {
		if got := strings.Join(patternsOf(filter), " "); got != want {
			t.Errorf("%q: %q, want %q", filter, got, want)
		}
	}
}
