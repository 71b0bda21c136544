package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/codec"
	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/peer"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
	"github.com/headwater/headwater/broker/wire"
)

// hubs are three brokers with real partitions, which fetch from one another over
// pipes; and what a controller has decided about press-0.
type hubs struct {
	t    *testing.T
	up   map[int32]*hub
	disk map[int32]*disk.Crash

	mu    sync.Mutex // guards all below
	order partition.Order
	cut   map[int32]bool // out of reach, and reaching nobody
	acked []string       // values that were acknowledged for all
	sent  int
}

// hub is a broker while it runs.
type hub struct {
	id       int32
	of       *hubs
	set      *partition.Set
	fetchers *Fetchers
	end      func()

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newHubs(t *testing.T) *hubs {
	h := &hubs{t: t, up: map[int32]*hub{}, disk: map[int32]*disk.Crash{}, cut: map[int32]bool{}}
	h.order = partition.Order{ControllerEpoch: 1, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2, 3}}
	for id := range int32(3) {
		h.disk[id+1] = disk.NewCrash(uint64(id))
	}
	for id := range h.disk {
		h.start(id)
	}
	h.tell()
	return h
}

func (h *hubs) start(id int32) {
	quiet := slog.New(slog.DiscardHandler)
	dir, err := commitlog.OpenDir("/data", commitlog.Options{FS: h.disk[id], BrokerID: id, Log: quiet})
	if err != nil {
		h.t.Fatal(err)
	}
	b := &hub{id: id, of: h, set: partition.NewSet(dir, false, quiet)}
	b.set.SetMaxLag(10 * time.Second)
	b.set.SetLive(h.live)
	settings := topic.Defaults()
	settings.MinISR, settings.SegmentBytes = 2, 4096
	if _, err := b.set.Open("press", 0, pressID, settings); err != nil {
		h.t.Fatal(err)
	}
	cfg := DefaultConfig(id)
	cfg.PartitionMaxBytes = 600
	b.fetchers = New(cfg, Hosted(b.set.Get), func(to cluster.Broker) Caller { return b.caller(to.ID) }, quiet, nil)
	sender := NewISRSender(Controller{
		Self: id,
		Find: func() (string, int64, bool) { return "controller:1", 1, true },
		Dial: func(string) Caller { return b.caller(0) },
	}, b.set, time.Second, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { dir.Run(ctx) })
	running.Go(func() { b.fetchers.Run(ctx) })
	running.Go(func() { sender.Run(ctx) })
	running.Go(func() { b.set.RunHighWatermarks(ctx) })
	b.end = func() {
		b.hangUp()
		cancel()
		running.Wait()
		dir.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.up[id] = b
}

// stop ends a broker: its process, or its power.
func (h *hubs) stop(id int32, powerCut bool, seed uint64) {
	next := h.disk[id].Kill
	if powerCut {
		next = func() *disk.Crash { return h.disk[id].Restart(seed) }
	}
	h.disk[id] = next()
	h.mu.Lock()
	b := h.up[id]
	delete(h.up, id)
	h.mu.Unlock()
	b.end()
}

// live is who the controller believes to be alive.
func (h *hubs) live(id int32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.up[id] != nil && !h.cut[id]
}

// elect decides who leads, as Kafka's controller does, and tells all whom it reaches.
func (h *hubs) elect() {
	h.mu.Lock()
	isr := slices.DeleteFunc(slices.Clone(h.order.ISR), func(id int32) bool { return h.up[id] == nil || h.cut[id] })
	h.order.LeaderEpoch++
	h.order.PartitionEpoch++
	h.order.Leader = -1
	if len(isr) > 0 {
		h.order.Leader, h.order.ISR = isr[int(h.order.LeaderEpoch)%len(isr)], isr
	}
	h.mu.Unlock()
	h.tell()
}

// tell has everyone whom the controller reaches do what it has decided.
func (h *hubs) tell() {
	h.mu.Lock()
	o := h.order
	reached := maps.Clone(h.up)
	maps.DeleteFunc(reached, func(id int32, _ *hub) bool { return h.cut[id] })
	h.mu.Unlock()
	for _, b := range reached {
		if changed, err := b.set.Apply("press", 0, b.id, o); err != nil || !changed {
			continue
		}
		if o.Leader < 0 || o.Leader == b.id {
			b.fetchers.Unfollow("press", 0)
		} else {
			b.fetchers.Follow("press", 0, pressID, cluster.Broker{ID: o.Leader}, o.LeaderEpoch)
		}
	}
}

// alter answers AlterPartition.
func (h *hubs) alter(req *kmsg.AlterPartitionRequest) kmsg.Response {
	h.mu.Lock()
	defer h.mu.Unlock()
	resp := req.ResponseKind().(*kmsg.AlterPartitionResponse)
	if len(req.Topics) == 0 {
		return resp
	}
	p := req.Topics[0].Partitions[0]
	var isr []int32
	for _, member := range p.NewEpochISR {
		isr = append(isr, member.BrokerID)
	}
	out := kmsg.NewAlterPartitionResponseTopicPartition()
	switch {
	case p.LeaderEpoch < h.order.LeaderEpoch:
		out.ErrorCode = int16(wire.FencedLeaderEpoch)
	case slices.Equal(isr, h.order.ISR):
	case p.PartitionEpoch < h.order.PartitionEpoch:
		out.ErrorCode = int16(wire.InvalidUpdateVersion)
	case slices.ContainsFunc(isr, func(id int32) bool { return h.up[id] == nil || h.cut[id] }):
		out.ErrorCode = int16(wire.IneligibleReplica)
	default:
		h.order.ISR, h.order.PartitionEpoch = isr, h.order.PartitionEpoch+1
	}
	out.LeaderID, out.LeaderEpoch, out.PartitionEpoch, out.ISR = h.order.Leader, h.order.LeaderEpoch, h.order.PartitionEpoch, h.order.ISR
	t := kmsg.NewAlterPartitionResponseTopic()
	t.TopidID, t.Partitions = pressID, []kmsg.AlterPartitionResponseTopicPartition{out}
	resp.Topics = append(resp.Topics, t)
	return resp
}

// produce has a value appended for all at whoever believes that it leads.
func (h *hubs) produce(b *hub) {
	p, err := b.set.Get("press", 0)
	if err != nil {
		return
	}
	h.mu.Lock()
	h.sent++
	value := fmt.Sprintf("value-%06d", h.sent)
	h.mu.Unlock()
	var bu record.Builder
	bu.Add(1000, nil, []byte(value), nil)
	_, next, err := p.AppendAll(bu.Batch())
	if err != nil {
		return
	}
	p.AwaitAll(next, func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if err == nil {
			h.acked = append(h.acked, value)
		}
	})
}

// caller reaches broker id, or the controller as 0.
func (b *hub) caller(id int32) Caller {
	cfg := peer.DefaultConfig(fmt.Sprint("headwater-broker-", b.id), "test")
	cfg.RequestTimeout = 3 * time.Second
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return b.of.connect(b, id) }
	return peer.New("broker:1", cfg)
}

func (h *hubs) connect(from *hub, to int32) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut[from.id] || h.cut[to] || to > 0 && h.up[to] == nil {
		return nil, errors.New("no way there")
	}
	ours, theirs := net.Pipe()
	for _, end := range []*hub{from, h.up[to]} {
		if end != nil {
			end.mu.Lock()
			end.conns = append(end.conns, ours)
			end.mu.Unlock()
		}
	}
	go h.serve(theirs, h.up[to])
	return ours, nil
}

// hangUp ends the connections of b, in both directions.
func (b *hub) hangUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, nc := range b.conns {
		nc.Close()
	}
	b.conns = nil
}

// serve answers for b, or for the controller as nil.
func (h *hubs) serve(nc net.Conn, b *hub) {
	defer nc.Close()
	for {
		var length [4]byte
		if _, err := io.ReadFull(nc, length[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(nc, frame); err != nil {
			return
		}
		header, body, _ := wire.ParseHeader(frame)
		req := kmsg.RequestForKey(header.Key)
		req.SetVersion(header.Version)
		if err := req.ReadFrom(body); err != nil {
			h.t.Error(err)
		}
		if _, err := nc.Write(wire.AppendResponse(nil, header.CorrelationID, h.answer(req, b))); err != nil {
			return
		}
	}
}

func (h *hubs) answer(req kmsg.Request, b *hub) kmsg.Response {
	switch r := req.(type) {
	case *kmsg.AlterPartitionRequest:
		return h.alter(r)
	case *kmsg.FetchRequest:
		return b.fetch(r)
	case *kmsg.ListOffsetsRequest:
		return b.list(r)
	case *kmsg.ApiVersionsRequest:
		resp := r.ResponseKind().(*kmsg.ApiVersionsResponse)
		for key, latest := range map[int16]int16{wire.Fetch: 16, wire.ListOffsets: 7, wire.AlterPartition: 3} {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: latest})
		}
		return resp
	}
	return nil
}

// fetch answers without sessions, and waits for something to answer with.
func (b *hub) fetch(r *kmsg.FetchRequest) kmsg.Response {
	p, _ := b.set.Get("press", 0)
	ask := r.Topics[0].Partitions[0]
	wake := make(chan struct{}, 1)
	defer p.WatchEnd(wake)()
	deadline := time.After(time.Duration(r.MaxWaitMillis) * time.Millisecond)
	for over := false; ; {
		out := read(p, r, ask)
		if over || out.ErrorCode != 0 || len(out.RecordBatches) > 0 || out.DivergingEpoch.Epoch >= 0 {
			resp := r.ResponseKind().(*kmsg.FetchResponse)
			t := kmsg.NewFetchResponseTopic()
			t.TopicID, t.Partitions = r.Topics[0].TopicID, []kmsg.FetchResponseTopicPartition{out}
			resp.Topics = []kmsg.FetchResponseTopic{t}
			return resp
		}
		select {
		case <-wake:
		case <-deadline:
			over = true
		}
	}
}

func read(p *partition.Partition, r *kmsg.FetchRequest, ask kmsg.FetchRequestTopicPartition) kmsg.FetchResponseTopicPartition {
	out := kmsg.NewFetchResponseTopicPartition()
	f, diverging, err := p.ReadReplica(partition.ReplicaFetch{
		Replica: r.ReplicaState.ID, BrokerEpoch: -1, CurrentLeaderEpoch: ask.CurrentLeaderEpoch, Offset: ask.FetchOffset,
		LastFetchedEpoch: ask.LastFetchedEpoch, LogStartOffset: ask.LogStartOffset, MaxBytes: int(ask.PartitionMaxBytes), AtLeastOne: true,
	})
	defer f.Records.Release()
	out.HighWatermark, out.LogStartOffset = f.HighWatermark, f.LogStartOffset
	out.RecordBatches = append([]byte{}, f.Records.Bytes...)
	if diverging != nil {
		out.DivergingEpoch.Epoch, out.DivergingEpoch.EndOffset = diverging.Epoch, diverging.EndOffset
	}
	out.ErrorCode = int16(codeOf(err))
	return out
}

func codeOf(err error) wire.ErrorCode {
	switch {
	case err == nil:
		return wire.None
	case errors.Is(err, partition.ErrFencedLeaderEpoch):
		return wire.FencedLeaderEpoch
	case errors.Is(err, partition.ErrUnknownLeaderEpoch):
		return wire.UnknownLeaderEpoch
	case errors.Is(err, partition.ErrNotLeader):
		return wire.NotLeaderOrFollower
	case errors.Is(err, commitlog.ErrOffsetOutOfRange):
		return wire.OffsetOutOfRange
	default:
		return wire.UnknownServerError
	}
}

func (b *hub) list(r *kmsg.ListOffsetsRequest) kmsg.Response {
	p, _ := b.set.Get("press", 0)
	resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
	out := kmsg.NewListOffsetsResponseTopicPartition()
	if out.Offset = p.State().LogStartOffset; r.Topics[0].Partitions[0].Timestamp == latest {
		out.Offset = p.State().DurableEnd
	}
	t := kmsg.NewListOffsetsResponseTopic()
	t.Topic, t.Partitions = "press", []kmsg.ListOffsetsResponseTopicPartition{out}
	resp.Topics = []kmsg.ListOffsetsResponseTopic{t}
	return resp
}

// mischief does one thing to the region.
func (h *hubs) mischief(rng *rand.Rand) {
	id := 1 + rng.Int32N(3)
	switch n := rng.IntN(12); {
	case n < 5:
		for range rng.IntN(8) {
			for _, b := range h.up {
				h.produce(b)
			}
		}
	case n < 7:
		h.elect()
	case n == 7 && h.up[id] != nil:
		h.stop(id, rng.IntN(2) == 0, rng.Uint64())
		if rng.IntN(2) == 0 {
			h.elect()
		}
	case n == 8 && h.up[id] == nil:
		h.start(id)
		h.tell()
	case n == 9:
		h.setCut(id, true)
	case n == 10:
		h.setCut(id, false)
		h.tell()
	default:
		time.Sleep(time.Duration(rng.IntN(15000)) * time.Millisecond)
	}
	time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
}

func (h *hubs) setCut(id int32, cut bool) {
	h.mu.Lock()
	h.cut[id] = cut
	b := h.up[id]
	h.mu.Unlock()
	if b != nil && cut {
		b.hangUp()
	}
}

// settle heals everything and waits until all have what the leader has.
func (h *hubs) settle() {
	for id := range h.disk {
		h.setCut(id, false)
		if h.up[id] == nil {
			h.start(id)
		}
	}
	h.elect()
	after(2 * time.Minute)
	h.produce(h.up[h.order.Leader])
	after(10 * time.Second)
}

// check holds the three logs against one another and against what was acknowledged.
func (h *hubs) check() {
	var first []byte
	for _, id := range []int32{1, 2, 3} {
		p, err := h.up[id].set.Get("press", 0)
		if err != nil {
			h.t.Fatal(err)
		}
		s := p.State()
		if s.HighWatermark != s.LogEndOffset || len(h.order.ISR) != 3 {
			h.t.Errorf("broker %d: high watermark %d of %d, ISR %v, order %+v", id, s.HighWatermark, s.LogEndOffset, s.ISR, h.order)
		}
		all := readAll(h.t, p)
		if first == nil {
			first = all
			h.checkAcked(all)
		}
		if !bytes.Equal(first, all) {
			h.t.Errorf("brokers 1 and %d differ: %d and %d bytes", id, len(first), len(all))
		}
	}
}

func readAll(t *testing.T, p *partition.Partition) (all []byte) {
	t.Helper()
	for offset := int64(0); offset < p.State().HighWatermark; {
		f, err := p.Read(offset, 1<<20, true)
		if err != nil {
			t.Fatal(err)
		}
		for rest := f.Records.Bytes; len(rest) > 0; {
			b, behind, err := record.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			offset, rest = b.NextOffset(), behind
		}
		all = append(all, f.Records.Bytes...)
		f.Records.Release()
	}
	return all
}

// checkAcked finds every acknowledged value once in the log.
func (h *hubs) checkAcked(all []byte) {
	found := map[string]int{}
	for len(all) > 0 {
		b, rest, err := record.Next(all)
		if err != nil {
			h.t.Fatal(err)
		}
		codec.Records(b, 1<<20, func(r record.Record) bool {
			found[strings.Clone(string(r.Value))]++
			return true
		})
		all = rest
	}
	for _, value := range h.acked {
		if found[value] != 1 {
			h.t.Errorf("%s was acknowledged and stands there %d times", value, found[value])
		}
	}
}

// Whatever happens to brokers, disks and the network, what was acknowledged for all is
// there when it is over, once, and all have the same.
func TestRegion(t *testing.T) {
	acked := 0
	for seed := range uint64(regionSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHubs(t)
				rng := rand.New(rand.NewPCG(seed, 6))
				for range 60 {
					h.mischief(rng)
				}
				h.settle()
				h.check()
				acked += len(h.acked)
				for id := range h.disk {
					h.stop(id, false, 0)
				}
				after(time.Minute)
			})
		})
	}
	if acked < 10*regionSeeds {
		t.Errorf("only %d values were acknowledged over %d runs", acked, regionSeeds)
	}
}

// regionSeeds is how many runs the test does.
const regionSeeds = 20
