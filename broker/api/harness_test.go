package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// memPartition is a Partition in memory, whose syncs the test may decide on.
type memPartition struct {
	mu           sync.Mutex // guards all below
	batches      []record.Batch
	logStart     int64
	end, durable int64 // exclusive
	leaderEpoch  int32
	hold         bool // syncs happen by sync only
	syncs        int  // those that had something to do
	failAppend   error
	failRead     error
	producers    []partition.ActiveProducer
	waiting      map[int64][]func(error) // by next offset
	watchers     map[chan<- struct{}]bool
	afterLook    func() // called once, without the lock, when a fetch has looked at it
	afterOffsets func() // likewise
	others       replicas
}

func (p *memPartition) Append(b record.Batch) (baseOffset, nextOffset int64, err error) {
	p.mu.Lock()
	if p.failAppend != nil {
		defer p.mu.Unlock()
		return 0, 0, p.failAppend
	}
	b.Stamp(p.end, p.leaderEpoch)
	p.batches = append(p.batches, bytes.Clone(b))
	p.end = b.NextOffset()
	hold := p.hold
	p.mu.Unlock()
	if !hold {
		p.sync()
	}
	return b.BaseOffset(), b.NextOffset(), nil
}

// sync makes all that was appended durable.
func (p *memPartition) sync() {
	p.mu.Lock()
	var ready []func(error)
	if p.durable < p.end {
		p.syncs++
	}
	p.durable = p.end
	for next, waiting := range p.waiting {
		if next <= p.durable {
			ready = append(ready, waiting...)
			delete(p.waiting, next)
		}
	}
	for w := range p.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
	p.mu.Unlock()
	for _, done := range ready {
		done(nil)
	}
}

func (p *memPartition) Await(nextOffset int64, done func(error)) {
	p.mu.Lock()
	if p.durable >= nextOffset {
		p.mu.Unlock()
		done(nil)
		return
	}
	p.waiting[nextOffset] = append(p.waiting[nextOffset], done)
	p.mu.Unlock()
}

func (p *memPartition) Read(fromOffset int64, maxBytes int, atLeastOne bool) (partition.Fetched, error) {
	p.mu.Lock()
	defer func() {
		after := p.afterLook
		p.afterLook = nil
		p.mu.Unlock()
		if after != nil {
			after()
		}
	}()
	f := partition.Fetched{LogStartOffset: p.logStart, HighWatermark: p.durable}
	if p.failRead != nil {
		return f, p.failRead
	}
	if fromOffset < p.logStart || fromOffset > p.end {
		return f, fmt.Errorf("offset %d: %w", fromOffset, commitlog.ErrOffsetOutOfRange)
	}
	for _, b := range p.batches {
		if b.NextOffset() <= fromOffset || b.NextOffset() > p.durable {
			continue
		}
		if len(f.Records.Bytes)+len(b) > maxBytes && (!atLeastOne || len(f.Records.Bytes) > 0) {
			break
		}
		f.Records.Bytes = append(f.Records.Bytes, b...)
	}
	return f, nil
}

func (p *memPartition) Watch(wake chan<- struct{}) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchers[wake] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchers, wake)
	}
}

func (p *memPartition) Offsets() (logStartOffset, highWatermark int64) {
	p.mu.Lock()
	logStartOffset, highWatermark = p.logStart, p.durable
	after := p.afterOffsets
	p.afterOffsets = nil
	p.mu.Unlock()
	if after != nil {
		after()
	}
	return logStartOffset, highWatermark
}

func (p *memPartition) Err() error {
	p.mu.Lock()
	err, after := p.failRead, p.afterLook
	p.afterLook = nil
	p.mu.Unlock()
	if after != nil {
		after()
	}
	return err
}

func (p *memPartition) Size() (bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		bytes += int64(len(b))
	}
	return bytes
}

func (p *memPartition) ActiveProducers() []partition.ActiveProducer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.producers
}

func (p *memPartition) LeaderEpoch() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leaderEpoch
}

func (p *memPartition) OffsetForTime(timestamp int64) (offset, at int64, found bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.batches {
		err := record.Records(b.Payload(), b.Count(), func(r record.Record) bool {
			at = b.BaseTimestamp() + r.TimestampDelta
			offset = b.BaseOffset() + int64(r.OffsetDelta)
			found = at >= timestamp
			return !found
		})
		if found || err != nil {
			return offset, at, found, err
		}
	}
	return 0, 0, false, nil
}

func (p *memPartition) EndOffsetForEpoch(leaderEpoch int32) (foundEpoch int32, endOffset int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if leaderEpoch < 0 || leaderEpoch > p.leaderEpoch {
		return -1, -1, p.failRead
	}
	for _, b := range p.batches {
		if b.LeaderEpoch() > leaderEpoch {
			return foundEpoch, b.BaseOffset(), p.failRead
		}
		foundEpoch = b.LeaderEpoch()
	}
	return foundEpoch, p.end, p.failRead
}

func (p *memPartition) DeleteBefore(offset int64) (logStartOffset int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if offset > p.durable {
		return 0, fmt.Errorf("%w: %d", commitlog.ErrOffsetOutOfRange, offset)
	}
	p.logStart = max(p.logStart, offset)
	return p.logStart, nil
}

func (p *memPartition) LowWatermark() (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaderEpoch < 0 {
		return -1, partition.ErrNotLeader
	}
	return min(p.logStart, p.logStart-p.others.keep), nil
}

func (p *memPartition) WatchLow(wake chan<- struct{}) (stop func()) { return p.Watch(wake) }

// memHost is the partitions of a test's broker, by "topic-index".
type memHost struct {
	mu         sync.Mutex
	partitions map[string]*memPartition
}

func (h *memHost) Hosted() ([]cluster.Hosted, error) { return nil, nil }

func (h *memHost) Open(name string, index int32, _ topic.ID, _ topic.Settings) (int32, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.partitions[fmt.Sprintf("%s-%d", name, index)] = &memPartition{waiting: map[int64][]func(error){}, watchers: map[chan<- struct{}]bool{}}
	return -1, nil
}

func (h *memHost) Configure(string, int32, topic.Settings) {}

func (h *memHost) Lead(name string, index, leaderEpoch int32) {
	h.partition(name, index).leaderEpoch = leaderEpoch
}

func (h *memHost) Delete(name string, index int32) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.partitions, fmt.Sprintf("%s-%d", name, index))
	return nil
}

func (h *memHost) partition(name string, index int32) *memPartition {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.partitions[fmt.Sprintf("%s-%d", name, index)]
}

// Get implements Partitions.
func (h *memHost) Get(name string, index int32) (Partition, error) {
	if p := h.partition(name, index); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%.60s-%d: %w", name, index, partition.ErrUnknown)
}

// memStore keeps nothing.
type memStore struct{}

func (memStore) Load() ([]byte, error) { return nil, nil }
func (memStore) Save([]byte) error     { return nil }
func (memStore) SetAside() error       { return nil }

// memDir is where a test's partitions would be.
type memDir struct{}

func (memDir) Path() string           { return "/flash/data" }
func (memDir) Volume() (int64, int64) { return 16 << 30, 9 << 30 }

// box is an API over a cluster of one, with partitions in memory.
type box struct {
	*memHost
	api  *API
	solo *cluster.Solo
	ids  *memIDs
	log  *bytes.Buffer
}

// memIDs counts, or fails.
type memIDs struct {
	next int64
	fail error
}

func (m *memIDs) Next(context.Context) (int64, error) {
	m.next++
	return m.next - 1, m.fail
}

func newBox(t testing.TB, change ...func(*Config)) *box {
	t.Helper()
	cfg := Config{BrokerID: 7, AutoCreateTopics: true, DefaultPartitions: 2, DefaultReplicas: 3, FetchBytes: 8 << 20, LogDir: memDir{}, FetchSessions: 10, FetchSessionBytes: 1 << 20}
	for _, c := range change {
		c(&cfg)
	}
	b := &box{memHost: &memHost{partitions: map[string]*memPartition{}}, ids: &memIDs{}, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	b.solo = cluster.NewSolo(cluster.SoloConfig{
		ClusterID: "box", Self: cluster.Broker{ID: 7, Host: "box.example", Port: 9092}, Defaults: topic.Defaults(), DefaultPartitions: 2, MaxPartitions: 40,
	}, memStore{}, b, log)
	if err := b.solo.Start(); err != nil {
		t.Fatal(err)
	}
	if cfg.Groups == nil {
		cfg.Groups = runGroups(t, offsetsLog{b.solo, b})
	}
	b.api = New(cfg, b.solo, b, b.ids, log)
	return b
}

// runGroups runs a coordinator of groups, with short times, until the test ends.
func runGroups(t testing.TB, topic group.Log) *group.Coordinator {
	t.Helper()
	cfg := group.DefaultConfig()
	cfg.InitialDelay, cfg.MinSessionTimeout = 0, 0
	groups := group.New(cfg, topic, func() (time.Time, bool) { return time.Now(), true }, slog.New(slog.DiscardHandler), nil)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { groups.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	for groups.Ready("any") != nil {
		runtime.Gosched() // nothing to load
	}
	return groups
}

// offsetsLog is __consumer_offsets in a cluster of one.
type offsetsLog struct {
	solo       *cluster.Solo
	partitions Partitions
}

func (l offsetsLog) at(index int32) Partition {
	p, err := l.partitions.Get(group.Topic, index)
	if err != nil {
		panic(err)
	}
	return p
}

func (l offsetsLog) Partitions() int32 {
	t, ok := l.solo.Snapshot().Topic(group.Topic)
	if !ok {
		return 0
	}
	return int32(len(t.Partitions))
}

func (l offsetsLog) Create(ctx context.Context, partitions int32, _ int16) (int32, error) {
	_, err := l.solo.CreateTopic(ctx, cluster.NewTopic{Name: group.Topic, Partitions: partitions, ReplicationFactor: 1})
	return partitions, err
}

func (l offsetsLog) Append(index int32, b record.Batch, done func(int64, error)) {
	l.at(index).AppendThen(b, false, done)
}

func (l offsetsLog) Read(index int32, fromOffset int64, maxBytes int) ([]byte, error) {
	f, err := l.at(index).Read(fromOffset, maxBytes, true)
	return f.Records.Bytes, err
}

func (l offsetsLog) Settle(_ int32, done func(error)) { done(nil) }

func (l offsetsLog) Offsets(index int32) (int64, int64, error) {
	start, end := l.at(index).Offsets()
	return start, end, nil
}

func (b *box) create(t testing.TB, name string, partitions int32, overrides map[string]string) *cluster.Topic {
	t.Helper()
	made, err := b.solo.CreateTopic(t.Context(), cluster.NewTopic{Name: name, Partitions: partitions, ReplicationFactor: 1, Overrides: overrides})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// pipes is a listener whose connections are net.Pipes, for synctest bubbles.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serve runs a real server over b until the test ends.
func (b *box) serve(t testing.TB, ln net.Listener) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	srv := server.New(server.DefaultConfig(), ln, b.api, slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		if !b.api.fetchBytes.TryAcquire(b.api.cfg.FetchBytes) {
			t.Error("some of the fetch budget was not given back")
		}
	})
}

// dial returns a client of a server over b, on a pipe.
func (b *box) dial(t testing.TB) *client {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	b.serve(t, p)
	return p.dial(t)
}

func (p *pipes) dial(t testing.TB) *client {
	near, far := net.Pipe()
	p.conns <- far
	c := &client{conn: near}
	t.Cleanup(func() { near.Close() })
	return c
}

// client sends requests one by one, or ahead.
type client struct {
	conn net.Conn
	name string // its client id; "test" when it is empty
	id   int32
}

var format = kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))

// frame encodes req and returns the correlation id that its answer will have.
func (c *client) frame(req kmsg.Request) ([]byte, int32) {
	c.id++
	if c.name != "" {
		return kmsg.NewRequestFormatter(kmsg.FormatterClientID(c.name)).AppendRequest(nil, req, c.id), c.id
	}
	return format.AppendRequest(nil, req, c.id), c.id
}

// receive reads the answer to req.
func (c *client) receive(req kmsg.Request, id int32) (kmsg.Response, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != id {
		return nil, fmt.Errorf("answer to %d, want %d", got, id)
	}
	if req.IsFlexible() && req.Key() != wire.APIVersions {
		if body[0] != 0 {
			return nil, errors.New("the header has tagged fields")
		}
		body = body[1:]
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body); err != nil {
		return nil, err
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) {
		return nil, fmt.Errorf("the answer is %x, and read and written again %x", body, again)
	}
	return resp, nil
}

// call sends req and returns its answer, of type R.
func call[R kmsg.Response](t testing.TB, c *client, req kmsg.Request, version int16) R {
	t.Helper()
	req.SetVersion(version)
	frame, id := c.frame(req)
	if _, err := c.conn.Write(frame); err != nil {
		t.Fatalf("send %s %d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	resp, err := c.receive(req, id)
	if err != nil {
		t.Fatalf("answer to %s %d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	return resp.(R)
}

// batch makes a batch of n records whose values are size bytes long, at timestamps
// from at upward, 10 ms apart.
func batch(n, size int, at int64) record.Batch {
	var bu record.Builder
	for i := range n {
		bu.Add(at+10*int64(i), nil, bytes.Repeat([]byte{'v'}, size), nil)
	}
	return bu.Batch()
}

// fill appends batches to a partition, durably.
func (b *box) fill(t testing.TB, name string, index int32, batches ...record.Batch) {
	t.Helper()
	for _, batch := range batches {
		if _, _, err := b.partition(name, index).Append(slices.Clone(batch)); err != nil {
			t.Fatal(err)
		}
	}
}

func code(c int16) wire.ErrorCode { return wire.ErrorCode(c) }

const second = time.Second
