package pull

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// The format is the one that docs/FORMATS.md shows.
func TestCommitFormat(t *testing.T) {
	cfg := consumerConfig{Durable: "readers", AckPolicy: ackExplicit}
	cfg.complete(limits{ackPending: 1000, waiting: 512})
	p := newProgress(cfg.rules(), 100)
	for offset := int64(100); offset < 110; offset++ {
		p.give(offset, 1)
	}
	p.giveAgain(104, 1)
	for _, offset := range []int64{100, 101, 103, 107} {
		p.ack(offset)
	}
	offset, metadata, err := encodeCommit(&cfg, time.UnixMilli(1700000000000), p, 4096)
	want := `jetstream/1 {"created":1700000000000,"next":8,"seq":11,"unacked":"0,2-4,6-7","delivers":"2:2","config":` +
		`{"durable_name":"readers","name":"readers","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":1}}`
	if err != nil || offset != 102 || metadata != want {
		t.Errorf("offset %d, error %v\n%s\nwant 102\n%s", offset, err, metadata, want)
	}
	if _, _, err := encodeCommit(&cfg, time.UnixMilli(1700000000000), p, 200); !errors.Is(err, errCommitTooLarge) {
		t.Errorf("a configuration that does not fit: error %v", err)
	}
}

func TestCommitOfOthers(t *testing.T) {
	for _, metadata := range []string{"", "hello", "jetstream/2 {}", `{"config":{}}`} {
		if _, ours, err := decodeCommit(metadata); ours || err != nil {
			t.Errorf("%q: ours %v, error %v", metadata, ours, err)
		}
	}
}

// Metadata that anybody wrote never panics, never takes more memory than it may, and
// what it gives is in order.
func FuzzDecodeCommit(f *testing.F) {
	f.Add(`{"next":8,"seq":11,"unacked":"0,2-4,6-7","delivers":"2:2","config":{}}`, int64(5))
	f.Add(`{"next":9223372036854775807,"unacked":"0-9223372036854775806"}`, int64(1<<60))
	f.Add(`{"next":5,"unacked":"3,2"}`, int64(0))
	f.Fuzz(func(t *testing.T, text string, offset int64) {
		offset = max(offset, 0) >> 2
		state, _, err := decodeCommit(commitMark + text)
		if err != nil {
			return
		}
		p, err := state.progress(offset, 50, 1)
		if err != nil {
			return
		}
		if len(p.pending) > 50 || p.next < offset || p.floor() < offset {
			t.Fatalf("%d pending, next %d, floor %d from offset %d", len(p.pending), p.next, p.floor(), offset)
		}
		for d := p.oldest; d != nil; d = d.newer {
			if d.newer != nil && d.newer.offset <= d.offset || d.offset >= p.next || d.count < 1 {
				t.Fatalf("%+v before %+v, next %d", d, d.newer, p.next)
			}
		}
	})
}

func TestConsumerConfig(t *testing.T) {
	most := limits{ackPending: 5000, waiting: 100}
	begin := time.Unix(1, 0)
	for name, tc := range map[string]struct {
		config consumerConfig
		want   string // of the error; "" for none
	}{
		"durable":         {consumerConfig{Durable: "d", AckPolicy: "explicit"}, ""},
		"ordered":         {consumerConfig{Name: "o_1", AckPolicy: "none", DeliverPolicy: "by_start_sequence", OptStartSeq: 7, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute}, ""},
		"unlimited":       {consumerConfig{Name: "o", AckPolicy: "all", MaxAckPending: -1}, ""},
		"noName":          {consumerConfig{}, "consumer name is not valid"},
		"dottedName":      {consumerConfig{Name: "a.b"}, "consumer name is not valid"},
		"longName":        {consumerConfig{Name: strings.Repeat("n", maxConsumerName+1)}, "consumer name is not valid"},
		"large":           {consumerConfig{Name: "n", Description: strings.Repeat("d", maxConfigBytes)}, "exceeds maximum size"},
		"push":            {consumerConfig{Name: "n", DeliverSubject: "x"}, "push consumers are not served"},
		"heartbeat":       {consumerConfig{Name: "n", Heartbeat: time.Second}, "push consumers are not served"},
		"replay":          {consumerConfig{Name: "n", ReplayPolicy: "original"}, "replay_policy"},
		"flow":            {consumerConfig{Name: "n", AckPolicy: "flow_control"}, "ack_policy"},
		"paused":          {consumerConfig{Name: "n", PauseUntil: &begin}, "not paused"},
		"groups":          {consumerConfig{Name: "n", PriorityGroups: []string{"a"}}, "priority groups"},
		"sampled":         {consumerConfig{Name: "n", SampleFrequency: "50%"}, "sample_freq"},
		"replicas":        {consumerConfig{Name: "n", Replicas: 3}, "num_replicas"},
		"negativeWait":    {consumerConfig{Name: "n", AckWait: -1}, "negative"},
		"longWait":        {consumerConfig{Name: "n", AckWait: 2 * longestWait}, "a year"},
		"backoff":         {consumerConfig{Name: "n", BackOff: []time.Duration{1, 2}, MaxDeliver: 1}, "max deliver"},
		"backoffNoLimit":  {consumerConfig{Name: "n", BackOff: []time.Duration{1, 2}}, ""},
		"twoFilters":      {consumerConfig{Name: "n", FilterSubject: "a", FilterSubjects: []string{"b"}}, "both"},
		"emptyFilter":     {consumerConfig{Name: "n", FilterSubjects: []string{""}}, "cannot be empty"},
		"badFilter":       {consumerConfig{Name: "n", FilterSubject: "a..b"}, "is no subject"},
		"overlap":         {consumerConfig{Name: "n", FilterSubjects: []string{"a.*", "a.b"}}, "overlap"},
		"filters":         {consumerConfig{Name: "n", FilterSubjects: []string{"a.*", "b.>"}}, ""},
		"noSequence":      {consumerConfig{Name: "n", DeliverPolicy: "by_start_sequence"}, "needs a start sequence"},
		"noTime":          {consumerConfig{Name: "n", DeliverPolicy: "by_start_time"}, "needs a start time"},
		"otherSequence":   {consumerConfig{Name: "n", OptStartSeq: 1}, "a start sequence is set"},
		"otherTime":       {consumerConfig{Name: "n", DeliverPolicy: "last", OptStartTime: &begin}, "a start time is set"},
		"lastPer":         {consumerConfig{Name: "n", DeliverPolicy: "last_per_subject", FilterSubject: ">"}, ""},
		"lastPerOfAll":    {consumerConfig{Name: "n", DeliverPolicy: "last_per_subject"}, "needs a filter"},
		"lastPerDurable":  {consumerConfig{Durable: "n", DeliverPolicy: "last_per_subject", FilterSubject: ">"}, "does not fit into a commit"},
		"unknownDelivery": {consumerConfig{Name: "n", DeliverPolicy: "random"}, "deliver_policy"},
	} {
		tc.config.complete(most)
		err := tc.config.validate(most)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}

// What clients leave open is answered with JetStream's defaults, within the box's.
func TestConsumerDefaults(t *testing.T) {
	c := consumerConfig{Durable: "d", AckPolicy: "explicit", MaxAckPending: -1}
	c.complete(limits{ackPending: 5000, waiting: 100})
	if c.Name != "d" || c.AckWait != 30*time.Second || c.MaxDeliver != -1 || c.MaxWaiting != 100 || c.MaxAckPending != 5000 || c.InactiveThreshold != 0 {
		t.Errorf("%+v", c)
	}
	never := time.Time{}
	c = consumerConfig{Durable: "d", AckPolicy: "explicit", MaxAckPending: 512 << 10, PauseUntil: &never}
	c.complete(limits{ackPending: 5000, waiting: 100})
	if c.MaxAckPending != 5000 || c.PauseUntil != nil {
		t.Errorf("what clients send without meaning it: %+v", c)
	}
	c = consumerConfig{Name: "e", AckPolicy: "none"}
	c.complete(limits{ackPending: 5000, waiting: 1000})
	if c.AckWait != 0 || c.MaxAckPending != 0 || c.MaxWaiting != 512 || c.InactiveThreshold != 5*time.Second {
		t.Errorf("%+v", c)
	}
}
