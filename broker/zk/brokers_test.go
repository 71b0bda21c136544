package zk

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/cluster"
)

func broker(id int32, port int32) cluster.Registration {
	return cluster.Registration{ID: id, Rack: "hall", Endpoints: []cluster.Endpoint{
		{Listener: "LAN", Protocol: "SSL", Host: "10.0.0.7", Port: 9093},
		{Listener: "PLAINTEXT", Protocol: "PLAINTEXT", Host: "box.example", Port: port},
	}}
}

// The node is as Kafka writes it.
func TestEncodeRegistration(t *testing.T) {
	now := time.UnixMilli(1700000000123)
	for name, tc := range map[string]struct {
		r    cluster.Registration
		want string
	}{
		"whole": {broker(7, 9092), `{"version":5,"host":"box.example","port":9092,"endpoints":["LAN://10.0.0.7:9093","PLAINTEXT://box.example:9092"],` +
			`"listener_security_protocol_map":{"LAN":"SSL","PLAINTEXT":"PLAINTEXT"},"jmx_port":-1,"timestamp":"1700000000123","rack":"hall","features":{}}`},
		"noPlaintext": {
			cluster.Registration{ID: 7, Endpoints: []cluster.Endpoint{{Listener: "A", Protocol: "SASL_SSL", Host: "fe80::1", Port: 1}}},
			`{"version":5,"host":null,"port":-1,"endpoints":["A://[fe80::1]:1"],"listener_security_protocol_map":{"A":"SASL_SSL"},"jmx_port":-1,"timestamp":"1700000000123","features":{}}`,
		},
	} {
		if got := string(encodeRegistration(tc.r, now)); got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, tc.want)
		}
		tc.r.Epoch = 42
		back, err := decodeRegistration("/brokers/ids/7", 7, node{data: []byte(tc.want), epoch: 42})
		if err != nil || !sameRegistration(back, tc.r) {
			t.Errorf("%s: read back as %+v, %v", name, back, err)
		}
	}
}

func sameRegistration(a, b cluster.Registration) bool {
	return a.ID == b.ID && a.Epoch == b.Epoch && a.Rack == b.Rack && slices.Equal(a.Endpoints, b.Endpoints)
}

// Older brokers' nodes are read, and what is no registration is an error.
func TestDecodeRegistration(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want string // the endpoints; "": malformed
	}{
		"v1":           {`{"version":1,"host":"a","port":9092,"jmx_port":9999}`, "PLAINTEXT/PLAINTEXT a:9092"},
		"v3":           {`{"version":3,"endpoints":["SSL://a:1"],"host":null,"port":-1}`, "SSL/SSL a:1"},
		"v4":           {`{"version":4,"endpoints":["X://a:1"],"listener_security_protocol_map":{"X":"SASL_PLAINTEXT"}}`, "X/SASL_PLAINTEXT a:1"},
		"v5Features":   {`{"features":{"f":{"min_version":1,"max_version":2}},"version":5,"endpoints":["X://a:1"],"listener_security_protocol_map":{"X":"SSL"}}`, "X/SSL a:1"},
		"noHost":       {`{"version":2,"port":1}`, ""},
		"portTooLarge": {`{"version":5,"endpoints":["X://a:65536"]}`, ""},
		"noListener":   {`{"version":5,"endpoints":["a:1"]}`, ""},
		"noVersion":    {`{"endpoints":["X://a:1"]}`, ""},
		"notJSON":      {`hello`, ""},
		"wrongType":    {`{"version":5,"endpoints":"X://a:1"}`, ""},
		"empty":        {``, ""},
	} {
		r, err := decodeRegistration("/brokers/ids/1", 1, node{data: []byte(tc.text)})
		if tc.want == "" {
			wantError(t, err, ErrMalformed)
			continue
		}
		if err != nil || len(r.Endpoints) != 1 {
			t.Errorf("%s: %+v, %v", name, r, err)
			continue
		}
		e := r.Endpoints[0]
		if got := e.Listener + "/" + e.Protocol + " " + e.Host + ":" + itoa(e.Port); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// A registration has the epoch that ZooKeeper gave it, goes with its session, and can
// be changed while it lasts.
func testRegistration(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	other, user := begin(t, config(address))
	w, changed := NewWatch()
	if got := must[[]cluster.Registration](t)(s.Brokers(t.Context(), w)); len(got) != 0 {
		t.Fatalf("brokers %+v in an empty cluster", got)
	}
	epoch := must[int64](t)(other.Register(t.Context(), broker(7, 9092)))
	receive(t, changed, "the news of a broker")
	got := must[[]cluster.Registration](t)(s.Brokers(t.Context(), w))
	want := broker(7, 9092)
	want.Epoch = epoch
	if epoch <= 0 || len(got) != 1 || !sameRegistration(got[0], want) {
		t.Fatalf("brokers %+v, want %+v", got, want)
	}

	if again := must[int64](t)(other.Register(t.Context(), broker(7, 9192))); again != epoch {
		t.Errorf("epoch %d for what was changed, want %d", again, epoch)
	}
	receive(t, changed, "the news of another port")
	if got := must[[]cluster.Registration](t)(s.Brokers(t.Context(), w)); got[0].Endpoints[1].Port != 9192 {
		t.Errorf("brokers %+v, want port 9192", got)
	}
	if err := s.Unregister(t.Context(), 7); err != nil { // not its own
		t.Error(err)
	}
	if got := must[[]cluster.Registration](t)(s.Brokers(t.Context(), w)); len(got) != 1 {
		t.Errorf("brokers %+v after another session took its leave", got)
	}

	if err := user.stop(); err != nil {
		t.Error(err)
	}
	receive(t, changed, "the news of a broker that has gone")
	if got := must[[]cluster.Registration](t)(s.Brokers(t.Context(), w)); len(got) != 0 {
		t.Errorf("brokers %+v after the session was closed", got)
	}
	if later := must[int64](t)(s.Register(t.Context(), broker(7, 9092))); later <= epoch {
		t.Errorf("epoch %d after %d", later, epoch)
	}
	if err := s.Unregister(t.Context(), 7); err != nil {
		t.Error(err)
	}
	wantNode(t, s, "/brokers/ids/7", "-")
}

// An id that another session keeps is refused, and the sentence says who has it; one
// that goes in time is taken.
func testRegistrationTaken(t *testing.T, address string) {
	first, user := begin(t, config(address))
	cfg := config(address)
	cfg.SessionTimeout = 3 * time.Second
	second, _ := begin(t, cfg)
	must[int64](t)(first.Register(t.Context(), broker(7, 9092)))
	_, err := second.Register(t.Context(), broker(7, 9192))
	wantError(t, err, ErrDuplicateID)
	contains(t, err, "10.0.0.7:9093")

	registered := make(chan error, 1)
	third, _ := begin(t, config(address))
	go func() {
		_, err := third.Register(t.Context(), broker(7, 9192))
		registered <- err
	}()
	if err := user.stop(); err != nil {
		t.Error(err)
	}
	if err := receive(t, registered, "the id to be free"); err != nil {
		t.Error(err)
	}
}

// A broker that was killed, and comes back without its data, gets its id again: ZooKeeper
// ends the earlier session on one of its ticks, which is after the session's time.
func testRegistrationLeft(t *testing.T, address string) {
	server, chroot, _ := strings.Cut(address, "/")
	p := startProxy(t, server)
	cfg := config(p.address() + "/" + chroot)
	cfg.SessionTimeout = 2 * time.Second
	first, _ := begin(t, cfg)
	cfg.Connect = address
	second, _ := begin(t, cfg)
	must[int64](t)(first.Register(t.Context(), broker(7, 9092)))
	p.set(hole)
	if _, err := second.Register(t.Context(), broker(7, 9092)); err != nil {
		t.Error(err)
	}
}

// What an earlier session of the same broker holds, its id and its office, is taken
// over at once; but not by who listens elsewhere.
func testRegistrationTakenOver(t *testing.T, address string) {
	first, _ := begin(t, config(address))
	before := must[int64](t)(first.Register(t.Context(), broker(7, 9092)))
	if _, won, err := first.Elect(t.Context(), 7); !won || err != nil {
		t.Fatal(won, err)
	}
	cfg := config(address)
	cfg.Own = func(id int64) bool { return id == first.ID() }
	second, _ := begin(t, cfg)
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := second.Register(soon, broker(7, 9192)); err == nil { // a copy of its data, elsewhere
		t.Error("a broker at another address has taken the id")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if epoch := must[int64](t)(second.Register(ctx, broker(7, 9092))); epoch <= before {
		t.Errorf("epoch %d after %d", epoch, before)
	}
	if n := must[node](t)(second.get(t.Context(), brokerPath(7), nil)); n.owner != second.ID() {
		t.Errorf("session %x has the id, want %x", n.owner, second.ID())
	}
	for s, want := range map[*Session]bool{first: true, second: false} { // it would wait for itself
		if id, ok, err := s.Controller(ctx, nil); ok != want || err != nil {
			t.Errorf("session %x: controller %d, %v, %v; want %v", s.ID(), id, ok, err, want)
		}
	}
	if term, won, err := second.Elect(ctx, 7); !won || err != nil || term.Epoch() != 2 {
		t.Errorf("won %v, %v; want epoch 2", won, err)
	}
}

// The first broker names the cluster, and generated ids follow each other.
func testIDs(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	for _, proposed := range []string{"first", "second"} {
		if got := must[string](t)(s.ClusterID(t.Context(), proposed)); got != "first" {
			t.Errorf("cluster id %q when %q is proposed, want first", got, proposed)
		}
	}
	wantNode(t, s, clusterIDPath, `{"version":"1","id":"first"}`)
	for _, want := range []int32{1001, 1002} {
		if got := must[int32](t)(s.GenerateBrokerID(t.Context(), 1000)); got != want {
			t.Errorf("generated id %d, want %d", got, want)
		}
	}
}

func TestDecodeClusterID(t *testing.T) {
	for text, want := range map[string]string{
		`{"version":"1","id":"x"}`: "x", `{"version":1,"id":"x"}`: "x", `{"version":"1"}`: "", `x`: "",
	} {
		got, err := decodeClusterID([]byte(text))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
