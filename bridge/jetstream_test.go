package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker"
	"github.com/headwater/headwater/broker/brokertest"
	"github.com/headwater/headwater/broker/commitlog"
)

// site is a bridge over a real broker.
type site struct {
	*serving
	box *brokertest.Box
}

func serveSite(t testing.TB, cfg Config) *site {
	t.Helper()
	return serveSiteOn(t, cfg, brokertest.Config(t.TempDir()))
}

// serveSiteOn is serveSite with a broker of the test's own.
func serveSiteOn(t testing.TB, cfg Config, of broker.Config) *site {
	t.Helper()
	box := brokertest.Start(t, of)
	cfg.Unknown = func(err error) bool { return errors.Is(err, broker.ErrUnknownPartition) }
	cfg.OutOfRange = func(err error) bool { return errors.Is(err, commitlog.ErrOffsetOutOfRange) }
	s := &site{&serving{}, box}
	s.run(t, cfg, box)
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) jetStream(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc := s.connect(t)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// publish stores n messages on telemetry.d<i % 3>.temp, each its number.
func publish(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	for i := range n {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("telemetry.d%d.temp", i%3), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// What devices publish is a stream to nats.go's JetStream clients, the new one and
// the old.
func TestStreamsOfJetStreamClient(t *testing.T) {
	cfg := testConfig()
	cfg.Rules = []subject.Rule{
		{Subject: "telemetry.>", Topic: "telemetry", Key: "{2}"},
		{Subject: "alarm.*", Topic: "plant.alarms"},
	}
	s := serveSite(t, cfg)
	nc, js := s.jetStream(t)
	publish(t, js, 10)
	if _, err := js.Publish(t.Context(), "alarm.d1", []byte("hot")); err != nil {
		t.Fatal(err)
	}

	var names []string
	lister := js.StreamNames(t.Context())
	for name := range lister.Name() {
		names = append(names, name)
	}
	if want := []string{"plant~alarms-0", "telemetry-0"}; lister.Err() != nil || !slices.Equal(names, want) {
		t.Errorf("names %q and error %v, want %q", names, lister.Err(), want)
	}
	var infos []*jetstream.StreamInfo
	list := js.ListStreams(t.Context())
	for info := range list.Info() {
		infos = append(infos, info)
	}
	if list.Err() != nil || len(infos) != 2 || infos[1].State.Msgs != 10 {
		t.Errorf("listed %+v and error %v", infos, list.Err())
	}
	if name, err := js.StreamNameBySubject(t.Context(), "alarm.d1"); err != nil || name != "plant~alarms-0" {
		t.Errorf("the stream of alarm.d1 is %q, error %v", name, err)
	}
	if account, err := js.AccountInfo(t.Context()); err != nil || account.Streams != 2 || account.Domain != "hw" || account.Store == 0 {
		t.Errorf("account %+v and error %v", account, err)
	}

	stream, err := js.Stream(t.Context(), "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	info := stream.CachedInfo()
	if info.State.FirstSeq != 1 || info.State.LastSeq != 10 || info.State.Msgs != 10 || time.Since(info.State.LastTime) > time.Minute || info.State.Bytes == 0 {
		t.Errorf("state %+v", info.State)
	}
	if c := info.Config; !slices.Equal(c.Subjects, []string{"telemetry.>", "telemetry"}) || !c.AllowDirect || !c.DenyPurge || c.Storage != jetstream.FileStorage ||
		c.Retention != jetstream.LimitsPolicy || c.Replicas != 1 || c.MaxBytes != 256<<20 || c.MaxAge != 7*24*time.Hour {
		t.Errorf("config %+v", c)
	}
	info, err = stream.Info(t.Context(), jetstream.WithSubjectFilter("telemetry.*.temp"))
	if want := map[string]uint64{"telemetry.d0.temp": 4, "telemetry.d1.temp": 3, "telemetry.d2.temp": 3}; err != nil || fmt.Sprint(info.State.Subjects) != fmt.Sprint(want) {
		t.Errorf("subjects %v and error %v, want %v", info.State.Subjects, err, want)
	}
	if _, err := js.Stream(t.Context(), "telemetry-1"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a partition that is not there: %v", err)
	}

	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := old.GetMsg("telemetry-0", 3, nats.DirectGet()); err != nil || string(m.Data) != "2" || m.Subject != "telemetry.d2.temp" {
		t.Errorf("the old client got %+v, error %v", m, err)
	}
	if info, err := old.StreamInfo("telemetry-0"); err != nil || info.State.Msgs != 10 {
		t.Errorf("the old client's info %+v, error %v", info, err)
	}
}

// Messages are got one by one, by any way that the client has.
func TestMessagesOfJetStreamClient(t *testing.T) {
	s := serveSite(t, testConfig())
	nc, js := s.jetStream(t)
	publish(t, js, 10)
	stream, err := js.Stream(t.Context(), "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, m *jetstream.RawStreamMsg, err error, want int) {
		t.Helper()
		if err != nil || string(m.Data) != fmt.Sprint(want) || m.Sequence != uint64(want+1) || m.Subject != fmt.Sprintf("telemetry.d%d.temp", want%3) ||
			m.Header.Get("hw-subject") != m.Subject || time.Since(m.Time) > time.Minute {
			t.Errorf("%s: %+v and error %v, want message %d", what, m, err, want)
		}
	}
	m, err := stream.GetMsg(t.Context(), 4)
	check("sequence", m, err, 3)
	m, err = stream.GetMsg(t.Context(), 5, jetstream.WithGetMsgSubject("telemetry.d0.*"))
	check("next of a subject", m, err, 6)
	m, err = stream.GetLastMsgForSubject(t.Context(), "telemetry.d1.temp")
	check("last of a subject", m, err, 7)
	for _, seq := range []uint64{11, 12, 1000} {
		if _, err := stream.GetMsg(t.Context(), seq); !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Errorf("message %d, which is not there: %v", seq, err)
		}
	}
	if _, err := stream.GetLastMsgForSubject(t.Context(), "telemetry.d3.temp"); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("a subject that nobody published on: %v", err)
	}

	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := old.GetLastMsg("telemetry-0", "telemetry.d2.temp"); err != nil || string(m.Data) != "8" || m.Header.Get("hw-subject") != m.Subject {
		t.Errorf("in JSON: %+v and error %v", m, err)
	}
}

// A batch comes whole, and says where it ends; over a leafnode's subject too.
func TestDirectBatch(t *testing.T) {
	s := serveSite(t, testConfig())
	nc, js := s.jetStream(t)
	publish(t, js, 500)
	inbox := nc.NewRespInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.hw.API.DIRECT.GET.telemetry-0", inbox, []byte(`{"seq":101,"batch":300}`)); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		m, err := answers.NextMsg(patience)
		if err != nil || string(m.Data) != fmt.Sprint(100+i) || m.Header.Get("Nats-Num-Pending") != fmt.Sprint(399-i) {
			t.Fatalf("message %d: %v, %+v", i, err, m)
		}
	}
	end, err := answers.NextMsg(patience)
	if err != nil || end.Header.Get("Status") != "204" || end.Header.Get("Description") != "EOB" ||
		end.Header.Get("Nats-Num-Pending") != "100" || end.Header.Get("Nats-Last-Sequence") != "400" {
		t.Errorf("ended with %v, %+v", err, end)
	}
}

// What Kafka producers wrote is there for NATS clients, however it was compressed.
func TestKafkaRecordsAsMessages(t *testing.T) {
	s := serveSite(t, testConfig())
	_, js := s.jetStream(t)
	for _, compression := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(s.box.Addr), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("plant.orders"), kgo.ProducerBatchCompression(compression))
		if err != nil {
			t.Fatal(err)
		}
		err = cl.ProduceSync(t.Context(),
			&kgo.Record{Key: []byte("k7"), Value: bytes.Repeat([]byte("x"), 1000), Headers: []kgo.RecordHeader{{Key: "unit", Value: []byte("bar")}, {Key: "Nats-Sequence", Value: []byte("99")}}},
			&kgo.Record{Key: []byte("a b")},
			&kgo.Record{Value: []byte{0, 0xff}}).FirstErr()
		cl.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), "plant~orders-0")
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 15; seq += 3 {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil || m.Subject != "plant.orders.k7" || m.Sequence != seq || len(m.Data) != 1000 || m.Header.Get("unit") != "bar" || m.Header.Get("hw-key") != "" {
			t.Errorf("%d: %+v, %v", seq, m, err)
		}
		m, err = stream.GetMsg(t.Context(), seq+1)
		if err != nil || m.Subject != "plant.orders" || len(m.Data) != 0 || m.Header.Get("hw-key") != "a b" {
			t.Errorf("%d: %+v, %v", seq+1, m, err)
		}
		m, err = stream.GetMsg(t.Context(), seq+2)
		if err != nil || m.Subject != "plant.orders" || !bytes.Equal(m.Data, []byte{0, 0xff}) {
			t.Errorf("%d: %+v, %v", seq+2, m, err)
		}
	}
}

// What cannot be done is an error with a sentence in the client's hands, for buckets
// of keys and objects too.
func TestRefusalsToJetStreamClient(t *testing.T) {
	s := serveSite(t, testConfig())
	_, js := s.jetStream(t)
	publish(t, js, 1)
	stream, err := js.Stream(t.Context(), "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"kafka-topics --create": func() error { _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "jobs"}); return err },
		"makes its topic": func() error {
			_, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "jobs"})
			return err
		},
		"kafka-configs": func() error {
			_, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "telemetry-0"})
			return err
		},
		"kafka-topics --delete": func() error { return js.DeleteStream(t.Context(), "telemetry-0") },
		"retention":             func() error { return stream.Purge(t.Context()) },
		"kafka-delete-records":  func() error { return stream.DeleteMsg(t.Context(), 1) },
		"key-value buckets are not kept": func() error {
			_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "settings"})
			return err
		},
		"object stores are not kept": func() error {
			_, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "files"})
			return err
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one that says %q", err, name)
		}
	}
	if _, err := js.KeyValue(t.Context(), "settings"); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("a bucket that is not there: %v", err)
	}
}

// An answer is not stored as if a device had sent it: neither an acknowledgement nor
// what the API says.
func TestAnswersOfTheAPIAreNotData(t *testing.T) {
	s := serveSite(t, testConfig())
	nc, js := s.jetStream(t)
	publish(t, js, 1)
	if err := nc.PublishRequest("$JS.API.INFO", "telemetry.d1.temp", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := js.AccountInfo(t.Context()); err != nil { // one connection's requests are taken in their order
		t.Fatal(err)
	}
	publish(t, js, 1)
	stream, err := js.Stream(t.Context(), "telemetry-0")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
	if got := s.counted(t, "headwater_jetstream_requests_total"); got != 3 {
		t.Errorf("%d requests were counted, want 3", got)
	}
}

// A record that does not fit into a NATS message is an error to the one who asks for
// it, and costs nobody the connection.
func TestMessageLargerThanPayload(t *testing.T) {
	cfg := testConfig()
	cfg.MaxPayload = 64 << 10
	s := serveSite(t, cfg)
	nc, js := s.jetStream(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.box.Addr), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("large"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Value: make([]byte, 64<<10)}, &kgo.Record{Value: make([]byte, 63<<10)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "large-0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.GetMsg(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "message size exceeds maximum allowed") {
		t.Errorf("too large: %v", err)
	}
	if m, err := stream.GetMsg(t.Context(), 2); err != nil || len(m.Data) != 63<<10 {
		t.Errorf("as large as fits: %v", err)
	}
	answer, err := nc.Request("$JS.API.STREAM.MSG.GET.large-0", []byte(`{"seq":2}`), patience) // base64 makes it larger
	var said struct {
		Error struct {
			ErrCode int `json:"err_code"`
		} `json:"error"`
	}
	if err := errors.Join(err, json.Unmarshal(answer.Data, &said)); err != nil || said.Error.ErrCode != 10054 {
		t.Errorf("in JSON: %s, %v", answer.Data, err)
	}
	if got := s.counted(t, "headwater_bridge_reconnects_total"); got != 0 {
		t.Errorf("the bridge lost its connection %d times", got)
	}
}

// When the bridge stops, clients learn at once that nobody answers, while what
// devices published is still being stored.
func TestStopOfTheAPI(t *testing.T) {
	s := serve(t, testConfig())
	nc := s.connect(t, nats.NoReconnect())
	s.log.hold()
	if err := nc.PublishRequest("telemetry.d1.temp", nc.NewRespInbox(), nil); err != nil {
		t.Fatal(err)
	}
	const nothing = "$JS.API.NOTHING" // is answered all the same
	if answer, err := nc.Request(nothing, nil, patience); err != nil || !strings.Contains(string(answer.Data), "not spoken here") {
		t.Fatalf("before: %v, %v", answer, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.stop() }()
	for {
		_, err := nc.Request(nothing, nil, patience)
		if errors.Is(err, nats.ErrNoResponders) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.log.release()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// As many devices can connect as the settings say: the bridge's own connections do
// not count among them.
func TestOwnConnectionsAreNotDevices(t *testing.T) {
	cfg := testConfig()
	cfg.MaxConnections = 2
	s := serveSite(t, cfg)
	s.jetStream(t)
	_, js := s.jetStream(t)
	if nc, err := nats.Connect("nats://" + s.Addr()); err == nil {
		nc.Close()
		t.Error("a third device could connect, 2 are allowed")
	}
	if _, err := js.AccountInfo(t.Context()); err != nil {
		t.Error(err)
	}
}
