package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/peer"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// leader is a broker that answers fetches as Kafka does, from logs in memory, over
// pipes.
type leader struct {
	broker  cluster.Broker
	offered int16         // of Fetch
	keeps   bool          // fetch sessions
	slow    time.Duration // that an answer with records takes to send
	checks  func(cluster.TopicPartition, int64)

	mu       sync.Mutex // guards all below
	logs     map[cluster.TopicPartition]*memLog
	ids      map[cluster.TopicPartition]topic.ID
	codes    map[cluster.TopicPartition]wire.ErrorCode
	mangle   func(cluster.TopicPartition, []byte) []byte
	down     bool // nobody gets a connection
	frozen   bool // nobody gets an answer
	conns    []net.Conn
	dialled  int
	open     int // connections
	invalid  int // fetches over a session that is further on
	fetches  []*kmsg.FetchRequest
	changed  chan struct{} // closed when there is news
	sessions map[int32]*fakeSession
	last     int32 // session id
	code     wire.ErrorCode
}

type fakeSession struct {
	id    int32
	epoch int32
	parts map[cluster.TopicPartition]kmsg.FetchRequestTopicPartition
	told  map[cluster.TopicPartition][2]int64
}

func newLeader(id int32) *leader {
	return &leader{
		broker: cluster.Broker{ID: id, Host: "leader", Port: 9092 + id}, offered: 17, keeps: true,
		logs: map[cluster.TopicPartition]*memLog{}, ids: map[cluster.TopicPartition]topic.ID{},
		codes: map[cluster.TopicPartition]wire.ErrorCode{}, sessions: map[int32]*fakeSession{},
		changed: make(chan struct{}),
	}
}

// change lets f change what mu guards, and wakes fetches that wait.
func (l *leader) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *leader) dial(context.Context, string, string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialled++
	if l.down {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	l.conns = append(l.conns, theirs)
	go l.serve(theirs)
	return ours, nil
}

// restart loses all connections and sessions.
func (l *leader) restart() {
	l.hangUp()
	l.change(func() { clear(l.sessions) })
}

// hangUp loses all connections.
func (l *leader) hangUp() {
	l.change(func() {
		for _, nc := range l.conns {
			nc.Close()
		}
		l.conns = nil
	})
}

func (l *leader) serve(nc net.Conn) {
	defer nc.Close()
	l.change(func() { l.open++ })
	defer l.change(func() { l.open-- })
	for {
		var length [4]byte
		if _, err := io.ReadFull(nc, length[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(nc, frame); err != nil {
			return
		}
		h, body, err := wire.ParseHeader(frame)
		if err != nil {
			return
		}
		req := kmsg.RequestForKey(h.Key)
		req.SetVersion(h.Version)
		if err := req.ReadFrom(body); err != nil {
			return
		}
		resp := l.answer(req)
		if l.isFrozen() {
			io.ReadFull(nc, length[:]) // until the other side gives up
			return
		}
		if f, ok := resp.(*kmsg.FetchResponse); ok && len(f.Topics) > 0 && len(f.Topics[0].Partitions[0].RecordBatches) > 0 {
			time.Sleep(l.slow)
		}
		if _, err := nc.Write(wire.AppendResponse(nil, h.CorrelationID, resp)); err != nil {
			return
		}
	}
}

func (l *leader) isFrozen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frozen
}

func (l *leader) answer(req kmsg.Request) kmsg.Response {
	switch r := req.(type) {
	case *kmsg.ApiVersionsRequest:
		resp := r.ResponseKind().(*kmsg.ApiVersionsResponse)
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: wire.Fetch, MaxVersion: l.offered}, {ApiKey: wire.ListOffsets, MaxVersion: 9}}
		return resp
	case *kmsg.FetchRequest:
		return l.fetch(r)
	case *kmsg.ListOffsetsRequest:
		return l.list(r)
	}
	return req.ResponseKind()
}

// fetch waits until there is something to tell, or for as long as r says.
func (l *leader) fetch(r *kmsg.FetchRequest) *kmsg.FetchResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetches = append(l.fetches, r)
	deadline := time.After(time.Duration(r.MaxWaitMillis) * time.Millisecond)
	s, code := l.session(r)
	for over := false; ; {
		resp, news := l.read(r, s)
		if code != wire.None {
			resp = r.ResponseKind().(*kmsg.FetchResponse)
			resp.ErrorCode, news = int16(code), true
		}
		if news || over {
			return resp
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			over = true
		}
		l.mu.Lock()
	}
}

// session finds or begins the session of a fetch. It holds mu.
func (l *leader) session(r *kmsg.FetchRequest) (*fakeSession, wire.ErrorCode) {
	if l.code != wire.None {
		return nil, l.code
	}
	s := l.sessions[r.SessionID]
	switch {
	case r.SessionEpoch == 0:
		delete(l.sessions, r.SessionID)
		s = &fakeSession{parts: map[cluster.TopicPartition]kmsg.FetchRequestTopicPartition{}, told: map[cluster.TopicPartition][2]int64{}}
		if l.keeps {
			l.last++
			s.id = l.last
			l.sessions[l.last] = s
		}
	case s == nil:
		return nil, wire.FetchSessionIDNotFound
	case s.epoch != r.SessionEpoch:
		l.invalid++
		return nil, wire.InvalidFetchSessionEpoch
	}
	s.epoch++
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			s.parts[l.name(r.Version, t.Topic, t.TopicID, p.Partition)] = p
		}
	}
	for _, t := range r.ForgottenTopics {
		for _, p := range t.Partitions {
			delete(s.parts, l.name(r.Version, t.Topic, t.TopicID, p))
		}
	}
	return s, wire.None
}

// name finds a partition by its topic's name or id. It holds mu.
func (l *leader) name(version int16, name string, id [16]byte, index int32) cluster.TopicPartition {
	if version < fetchByID {
		return cluster.TopicPartition{Topic: name, Index: index}
	}
	for tp, has := range l.ids {
		if has == topic.ID(id) && tp.Index == index {
			return tp
		}
	}
	return cluster.TopicPartition{Index: index}
}

// read answers for every partition of the session that has news. It holds mu.
func (l *leader) read(r *kmsg.FetchRequest, s *fakeSession) (resp *kmsg.FetchResponse, news bool) {
	resp = r.ResponseKind().(*kmsg.FetchResponse)
	if s == nil {
		return resp, true
	}
	resp.SessionID = s.id
	left := int(r.MaxBytes)
	for _, tp := range l.inOrder(r, s) {
		p, told := l.readOne(r, tp, s.parts[tp], &left)
		has := len(p.RecordBatches) > 0 || p.ErrorCode != 0 || p.DivergingEpoch.Epoch >= 0
		if !has && r.SessionEpoch > 0 && s.told[tp] == told {
			continue
		}
		news = news || has || r.SessionEpoch > 0
		s.told[tp] = told
		t := kmsg.NewFetchResponseTopic()
		t.Topic, t.TopicID = tp.Topic, l.ids[tp]
		t.Partitions = []kmsg.FetchResponseTopicPartition{p}
		resp.Topics = append(resp.Topics, t)
	}
	return resp, news
}

// inOrder are a session's partitions, a full request's in its own order.
func (l *leader) inOrder(r *kmsg.FetchRequest, s *fakeSession) (all []cluster.TopicPartition) {
	if r.SessionEpoch == 0 {
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				all = append(all, l.name(r.Version, t.Topic, t.TopicID, p.Partition))
			}
		}
		return all
	}
	for tp := range s.parts {
		all = append(all, tp)
	}
	slices.SortFunc(all, compare)
	return all
}

func (l *leader) readOne(r *kmsg.FetchRequest, tp cluster.TopicPartition, want kmsg.FetchRequestTopicPartition, left *int) (kmsg.FetchResponseTopicPartition, [2]int64) {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.RecordBatches = want.Partition, []byte{}
	if code := l.codes[tp]; code != wire.None {
		p.ErrorCode = int16(code)
		return p, [2]int64{-1, -1}
	}
	m := l.logs[tp]
	if m == nil {
		p.ErrorCode = int16(wire.UnknownTopicOrPartition)
		if r.Version >= fetchByID {
			p.ErrorCode = int16(wire.UnknownTopicID)
		}
		return p, [2]int64{-1, -1}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.endOf(want.LastFetchedEpoch)
	switch {
	case want.CurrentLeaderEpoch < m.leaderEpoch:
		p.ErrorCode = int16(wire.FencedLeaderEpoch)
	case want.CurrentLeaderEpoch > m.leaderEpoch:
		p.ErrorCode = int16(wire.UnknownLeaderEpoch)
	case want.FetchOffset < m.start, want.LastFetchedEpoch >= 0 && end.EndOffset < 0, want.LastFetchedEpoch < 0 && want.FetchOffset > m.end:
		p.ErrorCode = int16(wire.OffsetOutOfRange)
	case want.LastFetchedEpoch >= 0 && (end.Epoch < want.LastFetchedEpoch || end.EndOffset < want.FetchOffset):
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = end.Epoch, end.EndOffset
	default:
		if l.checks != nil {
			l.checks(tp, want.FetchOffset)
		}
		p.HighWatermark, p.LogStartOffset = m.end, m.start
		if *left > 0 {
			p.RecordBatches = m.from(want.FetchOffset, min(int(want.PartitionMaxBytes), *left), *left == int(r.MaxBytes))
			*left -= len(p.RecordBatches)
		}
		if l.mangle != nil && len(p.RecordBatches) > 0 {
			p.RecordBatches = l.mangle(tp, bytes.Clone(p.RecordBatches))
		}
	}
	return p, [2]int64{m.end, m.start}
}

func (l *leader) list(r *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	l.mu.Lock()
	defer l.mu.Unlock()
	resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range r.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			m := l.logs[cluster.TopicPartition{Topic: t.Topic, Index: p.Partition}]
			o := kmsg.NewListOffsetsResponseTopicPartition()
			o.Partition = p.Partition
			switch {
			case m == nil:
				o.ErrorCode = int16(wire.UnknownTopicOrPartition)
			case r.ReplicaID < 0 || p.Timestamp == latest:
				o.Offset = m.end
			default:
				o.Offset = m.start
			}
			out.Partitions = append(out.Partitions, o)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// region is this broker, number 9, with its replicas and leaders.
type region struct {
	t        *testing.T
	fetchers *Fetchers
	leaders  map[int32]*leader
	replicas map[cluster.TopicPartition]*memLog
	log      bytes.Buffer
	mu       sync.Mutex // guards log and replicas
	stop     func()
}

// inRegion runs a test in a bubble, with the fetchers running.
func inRegion(t *testing.T, configure func(*Config), test func(r *region)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &region{t: t, leaders: map[int32]*leader{1: newLeader(1), 2: newLeader(2)}, replicas: map[cluster.TopicPartition]*memLog{}}
		for _, l := range r.leaders {
			l.checks = r.onlyDurable
		}
		cfg := DefaultConfig(9)
		if configure != nil {
			configure(&cfg)
		}
		r.fetchers = New(cfg, Hosted(r.get), r.dial, slog.New(slog.NewTextHandler(r, nil)), nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.fetchers.Run(ctx) }()
		r.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("run: %v", err)
			}
		})
		test(r)
		r.stop()
		after(time.Second) // leaders wait that long
	})
}

func (r *region) get(topic string, index int32) (*memLog, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.replicas[cluster.TopicPartition{Topic: topic, Index: index}]
	if m == nil {
		return nil, partition.ErrUnknown
	}
	return m, nil
}

func (r *region) dial(b cluster.Broker) Caller {
	cfg := peer.DefaultConfig("headwater-broker-9", "fetcher")
	cfg.Dial = r.leaders[b.ID].dial
	return peer.New(net.JoinHostPort(b.Host, "9092"), cfg)
}

// Write takes the log.
func (r *region) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

// logged counts the lines that hold text.
func (r *region) logged(text string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Count(r.log.Bytes(), []byte(text))
}

// onlyDurable fails the test when a fetch says that what is not durable here is.
func (r *region) onlyDurable(tp cluster.TopicPartition, offset int64) {
	m, _ := r.get(tp.Topic, tp.Index)
	m.mu.Lock()
	defer m.mu.Unlock()
	if offset > m.durable {
		r.t.Errorf("%s: fetched at offset %d while only %d is durable", tp, offset, m.durable)
	}
}

// host gives both sides a log; the follower's order is the leader's.
func (r *region) host(leaderID int32, tp cluster.TopicPartition, theirs, ours *memLog) {
	l := r.leaders[leaderID]
	l.change(func() {
		l.logs[tp] = theirs
		if l.ids[tp] == (topic.ID{}) {
			l.ids[tp] = topic.NewID()
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replicas[tp] = ours
}

// follow has tp follow the leader in the epoch that its log here is in.
func (r *region) follow(leaderID int32, tp cluster.TopicPartition) {
	l := r.leaders[leaderID]
	r.fetchers.Follow(tp.Topic, tp.Index, l.ids[tp], l.broker, r.replicas[tp].leaderEpoch)
}

// grow appends n batches at the leader.
func (r *region) grow(leaderID int32, tp cluster.TopicPartition, n int) {
	l := r.leaders[leaderID]
	l.change(func() {
		m := l.logs[tp]
		m.with(func() {
			for range n {
				m.add(m.leaderEpoch, 2)
			}
		})
	})
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// same fails the test unless the follower has what the leader has.
func (r *region) same(leaderID int32, tp cluster.TopicPartition) {
	r.t.Helper()
	theirs, ours := r.leaders[leaderID].logs[tp], r.replicas[tp]
	if !bytes.Equal(theirs.bytes(), ours.bytes()) {
		r.t.Errorf("%s: the follower has offsets %d to %d, the leader %d to %d", tp, ours.start, ours.end, theirs.start, theirs.end)
	}
	if ours.durable != ours.end {
		r.t.Errorf("%s: durable to %d of %d", tp, ours.durable, ours.end)
	}
}

// fetched are the requests since the last call.
func (l *leader) fetched() []*kmsg.FetchRequest {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.fetches
	l.fetches = nil
	return got
}
