package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
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

// controllers are brokers, by address, that answer what only a controller is asked.
type controllers struct {
	mu      sync.Mutex // guards all below
	at      string     // the address of the controller; "": nobody is it
	max     int16      // version of AlterPartition
	answer  func(req kmsg.Request, resp kmsg.Response) (hangUp bool)
	older   bool // before Kafka 3.0: AllocateProducerIds is not known
	silent  bool // connections that are made now are never answered
	asked   []kmsg.Request
	askedAt []time.Time
	dialled []string
}

func newControllers(answer func(kmsg.Request, kmsg.Response) bool) *controllers {
	return &controllers{at: "one:9092", max: 3, answer: answer}
}

// of is how broker 9, of broker epoch 77, reaches them.
func (c *controllers) of() Controller {
	return Controller{
		Self: 9,
		Find: func() (string, int64, bool) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.at, 77, c.at != ""
		},
		Dial: func(address string) Caller {
			cfg := peer.DefaultConfig("headwater-broker-9", "controller")
			cfg.Dial = c.dial
			return peer.New(address, cfg)
		},
	}
}

func (c *controllers) dial(_ context.Context, _, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialled = append(c.dialled, address)
	ours, theirs := net.Pipe()
	if !c.silent {
		go c.serve(theirs)
	}
	return ours, nil
}

func (c *controllers) serve(nc net.Conn) {
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
		h, body, _ := wire.ParseHeader(frame)
		req := kmsg.RequestForKey(h.Key)
		req.SetVersion(h.Version)
		if err := req.ReadFrom(body); err != nil {
			return
		}
		resp := req.ResponseKind()
		if c.respond(req, resp) {
			return
		}
		nc.Write(wire.AppendResponse(nil, h.CorrelationID, resp))
	}
}

func (c *controllers) respond(req kmsg.Request, resp kmsg.Response) (hangUp bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := resp.(*kmsg.ApiVersionsResponse); ok {
		v.ApiKeys = []kmsg.ApiVersionsResponseApiKey{
			{ApiKey: wire.AlterPartition, MaxVersion: c.max},
			{ApiKey: wire.ControlledShutdown, MaxVersion: 3},
		}
		if !c.older {
			v.ApiKeys = append(v.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: wire.AllocateProducerIDs})
		}
		return false
	}
	c.asked, c.askedAt = append(c.asked, req), append(c.askedAt, time.Now())
	return c.answer(req, resp)
}

// with lets f change or look at what mu guards.
func (c *controllers) with(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

var (
	pressID = topic.ID{1, 2, 3}
	pumpID  = topic.ID{4, 5, 6}
)

// proposals are what leaders want, in tests.
type proposals struct {
	mu      sync.Mutex // guards all below
	wanted  chan struct{}
	waiting []partition.Proposal
	answers []partition.ISRAnswer
}

func (p *proposals) propose(some ...partition.Proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, some...)
	signal(p.wanted)
}

func (p *proposals) ISRProposals(time.Time) []partition.Proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.waiting = nil }()
	return p.waiting
}

// ISRAnswered has what failed proposed again, as leaders do.
func (p *proposals) ISRAnswered(proposal partition.Proposal, a partition.ISRAnswer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers = append(p.answers, a)
	if a.Err != nil && !errors.Is(a.Err, partition.ErrISRRefused) && !errors.Is(a.Err, partition.ErrISRSuperseded) {
		p.waiting = append(p.waiting, proposal)
	}
}

func (p *proposals) ISRWanted() <-chan struct{} { return p.wanted }

// took returns the answers that have come.
func (p *proposals) took() []partition.ISRAnswer {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.answers = nil }()
	return p.answers
}

func proposal(topicName string, id topic.ID, index int32, isr ...int32) partition.Proposal {
	return partition.Proposal{Topic: topicName, Index: index, TopicID: id, LeaderEpoch: 4, PartitionEpoch: 6, ISR: isr}
}

// accept answers AlterPartition as a controller that agrees with everything.
func accept(req kmsg.Request, resp kmsg.Response) bool {
	out := resp.(*kmsg.AlterPartitionResponse)
	for _, t := range req.(*kmsg.AlterPartitionRequest).Topics {
		topic := kmsg.NewAlterPartitionResponseTopic()
		topic.Topic, topic.TopidID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			o := kmsg.NewAlterPartitionResponseTopicPartition()
			o.Partition, o.LeaderID, o.LeaderEpoch, o.PartitionEpoch, o.ISR = p.Partition, 9, p.LeaderEpoch, p.PartitionEpoch+1, p.NewISR
			for _, member := range p.NewEpochISR {
				o.ISR = append(o.ISR, member.BrokerID)
			}
			topic.Partitions = append(topic.Partitions, o)
		}
		out.Topics = append(out.Topics, topic)
	}
	return false
}

// sending runs an ISRSender that looks once a minute.
func sending(t *testing.T, c *controllers, test func(set *proposals)) {
	synctest.Test(t, func(t *testing.T) {
		set := &proposals{wanted: make(chan struct{}, 1)}
		s := NewISRSender(c.of(), set, time.Minute, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		test(set)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// What several partitions want goes in one request, in each version's form, and each
// gets its answer.
func TestProposalsAreGrouped(t *testing.T) {
	for name, tc := range map[string]struct {
		max, want int16
		noID      bool
	}{
		"byName": {0, 0, false}, "recovering": {1, 1, false}, "byID": {2, 2, false}, "withEpochs": {3, 3, false}, "withoutAnID": {3, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newControllers(accept)
			c.max = tc.max
			sending(t, c, func(set *proposals) {
				last := proposal("pump", pumpID, 2, 9)
				if tc.noID {
					last.TopicID = topic.ID{}
				}
				set.propose(proposal("press", pressID, 0, 9, 1), proposal("press", pressID, 1, 9, 2), last)
				after(time.Second)
				var isrs [][]int32
				for _, a := range set.took() {
					if a.Err != nil || a.PartitionEpoch != 7 || a.LeaderEpoch != 4 {
						t.Errorf("answer %+v", a)
					}
					isrs = append(isrs, a.ISR)
				}
				if want := [][]int32{{9, 1}, {9, 2}, {9}}; !reflect.DeepEqual(isrs, want) {
					t.Errorf("answers with ISR %v, want %v", isrs, want)
				}
				req := c.asked[0].(*kmsg.AlterPartitionRequest)
				if len(c.asked) != 1 || req.Version != tc.want || req.BrokerID != 9 || req.BrokerEpoch != 77 || len(req.Topics) != 2 {
					t.Errorf("%d requests, the first %+v", len(c.asked), req)
				}
			})
		})
	}
}

// A controller's refusals are told apart as the leaders' rules need it.
func TestRefusedProposals(t *testing.T) {
	for code, want := range map[wire.ErrorCode]error{
		wire.IneligibleReplica:       partition.ErrISRRefused,
		wire.OperationNotAttempted:   partition.ErrISRRefused,
		wire.FencedLeaderEpoch:       partition.ErrISRSuperseded,
		wire.InvalidUpdateVersion:    partition.ErrISRSuperseded,
		wire.UnknownTopicOrPartition: partition.ErrISRSuperseded,
		wire.UnknownTopicID:          partition.ErrISRSuperseded,
		wire.InvalidRequest:          partition.ErrISRSuperseded,
		wire.NewLeaderElected:        partition.ErrISRSuperseded,
		wire.NotController:           nil,
		wire.UnknownServerError:      nil,
	} {
		err := alterError(code)
		for _, sentinel := range []error{partition.ErrISRRefused, partition.ErrISRSuperseded} {
			if errors.Is(err, sentinel) != (sentinel == want) {
				t.Errorf("%v is %v; is it %q: %v", code, err, sentinel, errors.Is(err, sentinel))
			}
		}
		if err == nil {
			t.Errorf("%v is no error", code)
		}
	}
}

// What no controller has answered is asked again: soon at first, then in longer
// pauses, at whoever is the controller by then.
func TestProposalsAreMadeAgain(t *testing.T) {
	failures := map[string]func(kmsg.Request, kmsg.Response) bool{
		"hangsUp": func(kmsg.Request, kmsg.Response) bool { return true },
		"notController": func(_ kmsg.Request, resp kmsg.Response) bool {
			resp.(*kmsg.AlterPartitionResponse).ErrorCode = int16(wire.NotController)
			return false
		},
		"leftOut": func(kmsg.Request, kmsg.Response) bool { return false },
	}
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			c := newControllers(fail)
			sending(t, c, func(set *proposals) {
				set.propose(proposal("press", pressID, 0, 9, 1))
				for range 600 {
					after(100 * time.Millisecond)
					signal(set.wanted) // which does not shorten the pauses
				}
				if n := len(c.asked); n < 20 || n > 45 {
					t.Errorf("asked %d times in a minute", n)
				}
				if !slices.ContainsFunc(c.askedAt, func(at time.Time) bool { return at.After(c.askedAt[0]) && at.Sub(c.askedAt[0]) < time.Second }) {
					t.Errorf("not asked again within a second: %v", c.askedAt)
				}
				set.took()
				c.with(func() { c.at, c.answer = "two:9092", accept })
				after(6 * time.Second)
				if got := set.took(); len(got) != 1 || got[0].Err != nil || c.dialled[len(c.dialled)-1] != "two:9092" {
					t.Errorf("answers %+v, dialled %v", got, c.dialled)
				}
				set.propose(proposal("press", pressID, 0, 9)) // without a pause, now that one answers
				after(time.Millisecond)
				if got := set.took(); len(got) != 1 || got[0].Err != nil {
					t.Errorf("the next: %+v", got)
				}
			})
		})
	}
}

// A controller that has fallen silent is waited for only as long as it is the
// controller.
func TestSilentController(t *testing.T) {
	c := newControllers(accept)
	c.silent = true
	sending(t, c, func(set *proposals) {
		set.propose(proposal("press", pressID, 0, 9, 1))
		after(2 * time.Second)
		c.with(func() { c.at, c.silent = "", false })
		after(2 * time.Second)
		if len(set.took()) != 0 || len(c.dialled) != 1 {
			t.Errorf("given up though there is no other: dialled %v", c.dialled)
		}
		c.with(func() { c.at = "two:9092" })
		after(time.Second)
		got := set.took()
		if len(got) != 2 || !errors.Is(got[0].Err, errMoved) || got[1].Err != nil {
			t.Errorf("answers %+v, want one of a call that was given up, and then the controller's", got)
		}
	})
}

// While there is no controller, proposals stay where they are; what nobody announces is
// found by looking.
func TestProposalsWait(t *testing.T) {
	c := newControllers(accept)
	c.at = ""
	sending(t, c, func(set *proposals) {
		set.propose(proposal("press", pressID, 0, 9, 1))
		after(time.Hour)
		if len(set.took()) != 0 || len(set.waiting) != 1 || len(c.dialled) != 0 {
			t.Errorf("%d proposals wait, dialled %v", len(set.waiting), c.dialled)
		}
		c.with(func() { c.at = "one:9092" })
		after(time.Second)
		if got := set.took(); len(got) != 1 || got[0].Err != nil {
			t.Errorf("answers %+v", got)
		}
		set.mu.Lock()
		set.waiting = append(set.waiting, proposal("press", pressID, 0, 9))
		set.mu.Unlock()
		after(time.Minute)
		if got := set.took(); len(got) != 1 {
			t.Errorf("%d answers after a minute, want one", len(got))
		}
	})
}

// Ids come from blocks, each id once, whoever asks for them; what the controller does
// not give is partition.ErrNoProducerID.
func TestProducerIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := int64(5000)
		give := func(_ kmsg.Request, resp kmsg.Response) bool {
			out := resp.(*kmsg.AllocateProducerIDsResponse)
			out.ProducerIDStart, out.ProducerIDLen = next, 10
			next += 1000
			return false
		}
		c := newControllers(give)
		p := NewProducerIDs(c.of(), &idFile{}, quiet)
		defer p.Close()
		got := make(chan int64, 25)
		for range cap(got) {
			go func() {
				id, err := p.Next(t.Context())
				if err != nil {
					t.Error(err)
				}
				got <- id
			}()
		}
		seen := map[int64]bool{}
		for range cap(got) {
			id := <-got
			if block := id / 1000; seen[id] || block < 5 || block > 7 || id%1000 > 9 {
				t.Errorf("id %d, again %v", id, seen[id])
			}
			seen[id] = true
		}
		for range 5 { // what is left of the third block
			if _, err := p.Next(t.Context()); err != nil {
				t.Error(err)
			}
		}
		hung := false
		c.with(func() {
			c.answer = func(req kmsg.Request, resp kmsg.Response) bool {
				if !hung {
					hung = true
					return true // as a connection that was idle for too long
				}
				return give(req, resp)
			}
		})
		if id, err := p.Next(t.Context()); err != nil || id != 8000 {
			t.Errorf("after a connection that was lost: %d, %v", id, err)
		}
	})
}

// Where the controller of the moment gives no ids, ZooKeeper does.
func TestProducerIDsWithAnOlderController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControllers(func(_ kmsg.Request, resp kmsg.Response) bool {
			out := resp.(*kmsg.AllocateProducerIDsResponse)
			out.ProducerIDStart, out.ProducerIDLen = 9000, idShare
			return false
		})
		c.older = true
		var away error
		taken := int64(0)
		controller := c.of()
		controller.TakeIDs = func(context.Context) (int64, int64, error) {
			taken += 1000
			return taken, idShare, away
		}
		p := NewProducerIDs(controller, &idFile{}, quiet)
		defer p.Close()
		block := func(first int64) {
			t.Helper()
			for want := first; want < first+idShare; want++ {
				if id, err := p.Next(t.Context()); id != want || err != nil {
					t.Fatalf("id %d, %v, want %d", id, err, want)
				}
			}
		}
		block(1000)
		block(2000)
		away = errors.New("ZooKeeper is away")
		if id, err := p.Next(t.Context()); !errors.Is(err, partition.ErrNoProducerID) || !errors.Is(err, away) {
			t.Errorf("id %d, %v, want %v", id, err, away)
		}
		c.with(func() { c.older, c.at = false, "two:9092" })
		block(9000)
	})
}

func TestNoProducerIDs(t *testing.T) {
	for name, spoil := range map[string]func(*controllers, *kmsg.AllocateProducerIDsResponse){
		"notController": func(_ *controllers, r *kmsg.AllocateProducerIDsResponse) { r.ErrorCode = int16(wire.NotController) },
		"staleEpoch":    func(_ *controllers, r *kmsg.AllocateProducerIDsResponse) { r.ErrorCode = int16(wire.StaleBrokerEpoch) },
		"none":          func(_ *controllers, r *kmsg.AllocateProducerIDsResponse) { r.ProducerIDLen = 0 },
		"negative":      func(_ *controllers, r *kmsg.AllocateProducerIDsResponse) { r.ProducerIDStart = -5 },
		"pastTheEnd":    func(_ *controllers, r *kmsg.AllocateProducerIDsResponse) { r.ProducerIDStart = 1<<63 - 2 },
		"nobody":        func(c *controllers, _ *kmsg.AllocateProducerIDsResponse) { c.at = "" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c *controllers
				c = newControllers(func(_ kmsg.Request, resp kmsg.Response) bool {
					out := resp.(*kmsg.AllocateProducerIDsResponse)
					out.ProducerIDStart, out.ProducerIDLen = 0, 10
					spoil(c, out)
					return false
				})
				if name == "nobody" {
					c.at = ""
				}
				p := NewProducerIDs(c.of(), &idFile{}, quiet)
				defer p.Close()
				if id, err := p.Next(t.Context()); !errors.Is(err, partition.ErrNoProducerID) {
					t.Errorf("id %d, error %v", id, err)
				}
			})
		})
	}
}

// Where nobody can take over, nobody is waited for.
func TestShutdownOfTheLast(t *testing.T) {
	for left, name := range []string{"alone", "theOtherGoes"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newControllers(func(_ kmsg.Request, resp kmsg.Response) bool {
					resp.(*kmsg.ControlledShutdownResponse).PartitionsRemaining = []kmsg.ControlledShutdownResponsePartitionsRemaining{{Topic: "press"}}
					return false
				})
				start := time.Now()
				_, err := Shutdown(t.Context(), c.of(), func() bool { return len(c.asked) < left }, 3, time.Second)
				if !errors.Is(err, ErrNoOthers) || len(c.asked) != left || time.Since(start) != time.Duration(left)*time.Second {
					t.Errorf("%v after %d requests and %v", err, len(c.asked), time.Since(start))
				}
			})
		})
	}
}

// A shutdown asks until nothing is led here any more, or as often as it may, and says
// what is left.
func TestShutdown(t *testing.T) {
	left := []cluster.TopicPartition{{Topic: "press", Index: 2}}
	for name, tc := range map[string]struct {
		freeAt    int // the request that finds nothing left
		code      wire.ErrorCode
		asked     int
		remaining []cluster.TopicPartition
		err       error
	}{
		"atOnce":        {1, wire.None, 1, nil, nil},
		"theThirdTime":  {3, wire.None, 3, nil, nil},
		"never":         {9, wire.None, 3, left, nil},
		"notController": {9, wire.NotController, 3, nil, cluster.ErrNotController},
		"staleEpoch":    {9, wire.StaleBrokerEpoch, 3, nil, cluster.ErrStaleBrokerEpoch},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c *controllers
				c = newControllers(func(req kmsg.Request, resp kmsg.Response) bool {
					out := resp.(*kmsg.ControlledShutdownResponse)
					if r := req.(*kmsg.ControlledShutdownRequest); r.Version != 3 || r.BrokerID != 9 || r.BrokerEpoch != 77 {
						t.Errorf("request %+v", r)
					}
					if out.ErrorCode = int16(tc.code); len(c.asked) < tc.freeAt {
						out.PartitionsRemaining = []kmsg.ControlledShutdownResponsePartitionsRemaining{{Topic: "press", Partition: 2}}
					}
					return false
				})
				start := time.Now()
				remaining, err := Shutdown(t.Context(), c.of(), func() bool { return true }, 3, 5*time.Second)
				if !slices.Equal(remaining, tc.remaining) || !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) || len(c.asked) != tc.asked {
					t.Errorf("remaining %v, %v, after %d requests", remaining, err, len(c.asked))
				}
				if took, want := time.Since(start), time.Duration(tc.asked-1)*5*time.Second; took != want {
					t.Errorf("took %v, want %v", took, want)
				}
			})
		})
	}
}
