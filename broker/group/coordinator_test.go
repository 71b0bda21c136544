package group

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/headwater/headwater/broker/record"
)

// memLog is __consumer_offsets in memory. While held, nothing becomes durable.
type memLog struct {
	mu         sync.Mutex // guards all below
	partitions int32
	batches    map[int32][]record.Batch
	held       bool
	waiting    []func()
	failAppend error
	failRead   error
	reading    chan struct{} // if set, reads wait until it is closed
	unknown    bool          // the topic is made, and nobody knows it yet
	doubt      atomic.Bool   // beside the log: the time of day is not known to be right
}

func (l *memLog) Partitions() int32 { return l.partitions }

func (l *memLog) Create(_ context.Context, partitions int32, _ int16) (int32, error) {
	if l.failAppend != nil {
		return 0, l.failAppend
	}
	if l.unknown {
		return 0, nil
	}
	l.partitions = partitions
	return partitions, nil
}

func (l *memLog) end(index int32) int64 {
	if all := l.batches[index]; len(all) > 0 {
		return all[len(all)-1].NextOffset()
	}
	return 0
}

func (l *memLog) Append(index int32, b record.Batch, done func(int64, error)) {
	l.mu.Lock()
	if l.failAppend != nil {
		err := l.failAppend
		l.mu.Unlock()
		done(-1, err)
		return
	}
	at := l.end(index)
	b.Stamp(at, 0)
	if l.batches == nil {
		l.batches = map[int32][]record.Batch{}
	}
	l.batches[index] = append(l.batches[index], b)
	l.waiting = append(l.waiting, func() { done(at, nil) })
	held := l.held
	l.mu.Unlock()
	if !held {
		l.sync()
	}
}

// sync makes all that was appended durable.
func (l *memLog) sync() {
	l.mu.Lock()
	ready := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, done := range ready {
		done()
	}
}

func (l *memLog) hold(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
}

func (l *memLog) Read(index int32, fromOffset int64, maxBytes int) (batches []byte, err error) {
	if l.reading != nil {
		<-l.reading
	}
	if l.failRead != nil {
		return nil, l.failRead
	}
	for _, b := range l.batches[index] {
		if b.NextOffset() > fromOffset && (len(batches) == 0 || len(batches)+len(b) <= maxBytes) {
			batches = append(batches, b...)
		}
	}
	return batches, nil
}

func (l *memLog) Settle(_ int32, done func(error)) { done(nil) }

func (l *memLog) Offsets(index int32) (int64, int64, error) { return 0, l.end(index), nil }

// running is a coordinator at work, in a synctest bubble.
type running struct {
	*Coordinator
	logged *bytes.Buffer
	stop   func()
}

// run starts a coordinator over topic and waits until it
// has loaded what can be.
func run(t *testing.T, topic Log, change ...func(*Config)) *running {
	t.Helper()
	cfg := DefaultConfig()
	for _, f := range change {
		f(&cfg)
	}
	logged := &bytes.Buffer{}
	clock := func() (time.Time, bool) {
		l, ok := topic.(*memLog)
		return time.Now(), !ok || !l.doubt.Load()
	}
	r := &running{New(cfg, topic, clock, slog.New(slog.NewTextHandler(logged, nil)), prometheus.NewRegistry()), logged, nil}
	n := 0
	r.newID = func() string { n++; return fmt.Sprint(n) }
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() { r.Run(ctx) })
	r.stop = func() { cancel(); ended.Wait() }
	t.Cleanup(r.stop)
	synctest.Wait()
	return r
}

// member joins group and syncs, as its only member, and returns its id.
func (r *running) member(t *testing.T, group string) string {
	t.Helper()
	req := request("")
	req.Group = group
	joined := <-r.Join(&req)
	if joined.Err != nil {
		t.Fatal(joined.Err)
	}
	synced := <-r.Sync(&SyncRequest{Group: group, MemberID: joined.MemberID, Generation: joined.Generation, Assignments: map[string][]byte{joined.MemberID: []byte("all")}})
	if synced.Err != nil || string(synced.Assignment) != "all" {
		t.Fatalf("synced: %+v", synced)
	}
	return joined.MemberID
}

func (r *running) commit(group, memberID string, generation int32, offsets ...Offset) []error {
	return <-r.Commit(&CommitRequest{Group: group, MemberID: memberID, Generation: generation, Offsets: offsets})
}

func (r *running) state(t *testing.T, group string) string {
	t.Helper()
	d, err := r.Describe(group)
	if err != nil {
		return err.Error()
	}
	return d.State.String()
}

// Run lets silent members go on time, group by group, and keeps those that speak.
func TestRunExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, &memLog{})
		start := time.Now()
		one := r.member(t, "one")
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("the first generation began after %v, want the initial delay", waited)
		}
		two := r.member(t, "two")
		want(t, "heartbeat", r.Heartbeat(&HeartbeatRequest{Group: "one", MemberID: one, Generation: 1}), nil)
		for range 5 {
			time.Sleep(session - time.Second)
			want(t, "heartbeat", r.Heartbeat(&HeartbeatRequest{Group: "one", MemberID: one, Generation: 1}), nil)
		}
		want(t, "heartbeat of the silent one", r.Heartbeat(&HeartbeatRequest{Group: "two", MemberID: two, Generation: 1}), ErrUnknownMember)
		if got := r.state(t, "one") + " " + r.state(t, "two"); got != "Stable Empty" {
			t.Errorf("groups one and two are %s", got)
		}
		time.Sleep(session)
		synctest.Wait()
		if got := r.state(t, "one"); got != "Empty" {
			t.Errorf("group one is %s", got)
		}
	})
}

// What is due sooner than all that was due before is done in time.
func TestRunIsWokenEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, &memLog{})
		req := request("")
		req.SessionTimeout = 30 * time.Minute
		id := (<-r.Join(&req)).MemberID
		r.Sync(&SyncRequest{Group: "readers", MemberID: id, Generation: 1})
		pending := request("")
		pending.RequireMemberID = true
		r.Join(&pending)
		start := time.Now()
		again := req
		again.MemberID = id
		if got := <-r.Join(&again); got.Generation != 2 || time.Since(start) != session {
			t.Errorf("generation %d after %v, want 2 when the id that was given out expires", got.Generation, time.Since(start))
		}
	})
}

// Before Run has looked what there is, everything is loading.
func TestNothingBeforeRun(t *testing.T) {
	c := New(DefaultConfig(), &memLog{}, func() (time.Time, bool) { return time.Now(), true }, slog.New(slog.DiscardHandler), nil)
	want(t, "ready", c.Ready("readers"), ErrLoading)
	_, err := c.List()
	want(t, "list", err, ErrLoading)
}

// A restart finds groups and offsets, and members that send heartbeats all the
// while do not notice.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{}
		r := run(t, topic)
		id := r.member(t, "one")
		if errs := r.commit("one", id, 1, at(0, 5)); errs[0] != nil {
			t.Fatal(errs)
		}
		if errs := r.commit("simple", "", -1, at(1, 6)); errs[0] != nil {
			t.Fatal(errs)
		}
		r.stop()

		topic.reading = make(chan struct{})
		r = run(t, topic)
		hb := &HeartbeatRequest{Group: "one", MemberID: id, Generation: 1}
		want(t, "heartbeat while loading", r.Heartbeat(hb), nil)
		req := request(id)
		req.Group = "one"
		want(t, "join while loading", (<-r.Join(&req)).Err, ErrLoading)
		want(t, "sync while loading", (<-r.Sync(&SyncRequest{Group: "one", MemberID: id, Generation: 1})).Err, ErrRebalancing)
		want(t, "commit while loading", r.commit("one", id, 1, at(0, 9))[0], ErrLoading)
		_, err := r.Fetch("one", []TopicPartition{{"press", 0}})
		want(t, "fetch while loading", err, ErrLoading)
		_, err = r.List()
		want(t, "list while loading", err, ErrLoading)
		_, err = r.Leave("one", []LeavingMember{{MemberID: id}})
		want(t, "leave while loading", err, ErrLoading)
		close(topic.reading)
		synctest.Wait()

		want(t, "heartbeat", r.Heartbeat(hb), nil)
		for group, offset := range map[string]Offset{"one": at(0, 5), "simple": at(1, 6)} {
			if got, err := r.FetchAll(group); err != nil || !reflect.DeepEqual(got, []Offset{offset}) {
				t.Errorf("%s: %+v, %v, want %+v", group, got, err, offset)
			}
		}
		time.Sleep(session + time.Second)
		synctest.Wait()
		if got := r.state(t, "one"); got != "Empty" {
			t.Errorf("the group whose member is silent after the restart is %s", got)
		}
	})
}

// What needs no group does not make the topic; the first join or commit does.
func TestTopicIsMadeWhenNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{}
		r := run(t, topic, func(c *Config) { c.Partitions = 3 })
		if got, err := r.Fetch("none", []TopicPartition{{"press", 0}}); err != nil || got[0].Offset != -1 {
			t.Errorf("fetch: %+v, %v", got, err)
		}
		want(t, "heartbeat", r.Heartbeat(&HeartbeatRequest{Group: "none"}), ErrUnknownMember)
		errs, err := r.Leave("none", []LeavingMember{{MemberID: "x"}})
		want(t, "leave", errors.Join(errs[0], err), ErrUnknownMember)
		want(t, "commit of a generation", r.commit("none", "x", 4, at(0, 1))[0], ErrIllegalGeneration)
		want(t, "delete", <-r.Delete("none"), ErrUnknownGroup)
		want(t, "delete offsets", (<-r.DeleteOffsets("none", nil)).Err, ErrUnknownGroup)
		_, err = r.Describe("none")
		want(t, "describe", err, ErrUnknownGroup)
		if topic.partitions != 0 {
			t.Fatal("the topic was made for nothing")
		}
		want(t, "commit", r.commit("some", "", -1, at(0, 1))[0], nil)
		if topic.partitions != 3 {
			t.Errorf("%d partitions, want 3", topic.partitions)
		}
	})
}

// A commit is answered, and can be fetched, when it is durable.
func TestCommitWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{}
		r := run(t, topic)
		r.commit("one", "", -1, at(0, 1))
		topic.hold(true)
		answer := r.Commit(&CommitRequest{Group: "one", Generation: -1, Offsets: []Offset{at(0, 2)}})
		synctest.Wait()
		select {
		case errs := <-answer:
			t.Errorf("answered with %v before the sync", errs)
		default:
		}
		if got, _ := r.FetchAll("one"); got[0].Offset != 1 {
			t.Errorf("fetched %d before the sync, want 1", got[0].Offset)
		}
		topic.sync()
		if errs := <-answer; errs[0] != nil {
			t.Errorf("answered with %v", errs)
		}
		if got, _ := r.FetchAll("one"); got[0].Offset != 2 {
			t.Errorf("fetched %d after the sync, want 2", got[0].Offset)
		}
	})
}

// Requests are refused with Kafka's errors, and nothing is left of a group that
// could not be made.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, &memLog{}, func(c *Config) { c.MaxGroups, c.MaxBytes, c.MaxMembers = 2, 4000, 2 })
		join := func(change func(*JoinRequest)) error {
			req := request("")
			change(&req)
			return (<-r.Join(&req)).Err
		}
		long := strings.Repeat("x", maxIDBytes+1)
		for name, tc := range map[string]struct{ got, want error }{
			"no group":       {join(func(q *JoinRequest) { q.Group = "" }), ErrInvalidID},
			"long group":     {join(func(q *JoinRequest) { q.Group = long }), ErrTooLong},
			"long client":    {join(func(q *JoinRequest) { q.ClientID = long }), ErrTooLong},
			"long protocol":  {join(func(q *JoinRequest) { q.Protocols[0].Name = long }), ErrTooLong},
			"short session":  {join(func(q *JoinRequest) { q.SessionTimeout = 6*time.Second - 1 }), ErrSessionTimeout},
			"long session":   {join(func(q *JoinRequest) { q.SessionTimeout = 30*time.Minute + 1 }), ErrSessionTimeout},
			"unknown":        {join(func(q *JoinRequest) { q.MemberID = "x" }), ErrUnknownMember},
			"nothing common": {join(func(q *JoinRequest) { q.Protocols = nil }), ErrInconsistentProtocol},
			"much metadata":  {join(func(q *JoinRequest) { q.Protocols[0].Metadata = make([]byte, 4000) }), ErrTooMuch},
			"commit long":    {r.commit(long, "", -1, at(0, 1))[0], ErrTooLong},
			"commit much":    {r.commit("x", "", -1, make([]Offset, 30)...)[0], ErrTooMuch},
			"heartbeat":      {r.Heartbeat(&HeartbeatRequest{}), ErrInvalidID},
			"sync of none":   {(<-r.Sync(&SyncRequest{Group: "x"})).Err, ErrUnknownMember},
		} {
			want(t, name, tc.got, tc.want)
		}
		if all, err := r.List(); len(all) != 0 || err != nil {
			t.Errorf("groups are left over: %v, %v", all, err)
		}
		if n := r.bytes.Load(); n != 0 {
			t.Errorf("%d bytes are left over", n)
		}
		text := at(1, 1)
		text.Metadata = strings.Repeat("m", 4097)
		errs := r.commit("one", "", -1, at(0, 1), text)
		want(t, "metadata of 4097 bytes", errs[1], ErrMetadataTooLarge)
		want(t, "the offset beside it", errs[0], nil)
		text.Metadata = text.Metadata[1:]
		r.cfg.MaxBytes = 8000
		want(t, "metadata of 4096 bytes", r.commit("one", "", -1, text)[0], nil)
		want(t, "a second group", r.commit("two", "", -1, at(0, 1))[0], nil)
		want(t, "a third", r.commit("three", "", -1, at(0, 1))[0], ErrTooMuch)
		r.cfg.MaxBytes = 100
		want(t, "the same partition again, when memory is full", r.commit("two", "", -1, at(0, 2))[0], nil)
	})
}

// A group that nobody came to is forgotten, without a trace in the log.
func TestPendingGroupIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{}
		r := run(t, topic)
		req := request("")
		req.RequireMemberID = true
		want(t, "join", (<-r.Join(&req)).Err, ErrMemberIDRequired)
		if got := r.state(t, "readers"); got != "Empty" {
			t.Errorf("group is %s", got)
		}
		time.Sleep(session)
		synctest.Wait()
		if all, _ := r.List(); len(all) != 0 || topic.end(0) != 0 {
			t.Errorf("groups %v, %d records", all, topic.end(0))
		}
	})
}

// Offsets expire, and the group with them; in the log too.
func TestOffsetsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{}
		r := run(t, topic)
		id := r.member(t, "one")
		r.commit("one", id, 1, at(0, 5))
		r.Leave("one", []LeavingMember{{MemberID: id}})
		time.Sleep(7*24*time.Hour - time.Minute)
		synctest.Wait()
		if got := r.state(t, "one"); got != "Empty" {
			t.Fatalf("before the retention is over the group is %s", got)
		}
		time.Sleep(2 * expireEvery)
		synctest.Wait()
		if all, _ := r.List(); len(all) != 0 {
			t.Errorf("groups %v", all)
		}
		r.stop()
		r = run(t, topic)
		if all, _ := r.List(); len(all) != 0 {
			t.Errorf("after a restart: %v", all)
		}
	})
}

// A record that was written while the time of day was in doubt is not judged by it
// after a restart.
func TestDoubtIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{}
		r := run(t, topic)
		r.commit("known", "", -1, at(0, 5))
		topic.doubt.Store(true)
		r.commit("doubted", "", -1, at(0, 5))
		r.stop()
		time.Sleep(8 * 24 * time.Hour) // off
		topic.doubt.Store(false)
		r = run(t, topic)
		time.Sleep(expireEvery)
		synctest.Wait()
		if got, _ := r.FetchAll("known"); len(got) != 0 {
			t.Errorf("kept: %v", got)
		}
		if got, _ := r.FetchAll("doubted"); len(got) != 1 {
			t.Error("dropped, because of a clock that was not known to be right")
		}
	})
}

// When the log takes nothing, clients are told to try again and the log of the
// broker says so once; then it goes on.
func TestAppendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{failAppend: errDisk}
		r := run(t, topic)
		for range 3 {
			want(t, "commit, when the topic cannot be made", r.commit("one", "", -1, at(0, 5))[0], ErrNotAvailable)
		}
		if n := strings.Count(r.logged.String(), "not created"); n != 1 {
			t.Errorf("logged %d times that it cannot be made, want once:\n%s", n, r.logged)
		}
		topic.failAppend = nil
		want(t, "commit", r.commit("one", "", -1, at(0, 5))[0], nil)
		topic.failAppend = errDisk
		for range 3 {
			want(t, "commit", r.commit("one", "", -1, at(0, 6))[0], ErrNotAvailable)
		}
		topic.failAppend = nil
		want(t, "commit", r.commit("one", "", -1, at(0, 7))[0], nil)
		if n := strings.Count(r.logged.String(), "cannot be stored"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, r.logged)
		}
		if n := strings.Count(r.logged.String(), "can be stored again"); n != 1 {
			t.Errorf("logged %d times that it is over, want once:\n%s", n, r.logged)
		}
	})
}

// A partition that cannot be read to its end is not served: an offset that is
// missing would have its consumer start over.
func TestLoadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topic := &memLog{}
		r := run(t, topic)
		r.commit("one", "", -1, at(0, 5))
		r.stop()
		topic.failRead = errDisk
		r = run(t, topic)
		_, err := r.FetchAll("one")
		want(t, "fetch", err, ErrNotAvailable)
		if !strings.Contains(r.logged.String(), errDisk.Error()) {
			t.Errorf("the log does not say why:\n%s", r.logged)
		}
	})
}

// A partition that another broker takes over goes with its groups, and those who
// wait look for them there; when it comes back it is as that broker left it.
func TestUnloadAndLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t, &memLog{})
		id := r.member(t, "readers")
		r.commit("readers", id, 1, at(0, 5))
		req := request("")
		waiting := r.Join(&req)
		r.Resign(0, 1)
		want(t, "the one who waits", (<-waiting).Err, ErrNotHere)
		_, err := r.FetchAll("readers")
		want(t, "fetch", err, ErrNotHere)
		if n := r.bytes.Load(); n != 0 {
			t.Errorf("%d bytes are left over", n)
		}
		r.Lead(0, 2)
		synctest.Wait()
		want(t, "heartbeat", r.Heartbeat(&HeartbeatRequest{Group: "readers", MemberID: id, Generation: 1}), nil)
	})
}

// Many clients at once, on groups that come and go: everyone is answered, and the
// offset that holds is the last in the log. (For the race detector.)
func TestManyAtOnce(t *testing.T) {
	topic := &memLog{}
	cfg := DefaultConfig()
	cfg.InitialDelay, cfg.MinSessionTimeout = 0, 0
	c := New(cfg, topic, func() (time.Time, bool) { return time.Now(), true }, slog.New(slog.DiscardHandler), nil)
	ctx, stop := context.WithCancel(t.Context())
	var coordinator, clients sync.WaitGroup
	coordinator.Go(func() { c.Run(ctx) })
	defer coordinator.Wait()
	defer stop()
	for c.Ready("any") != nil {
		time.Sleep(time.Millisecond)
	}
	for i := range 8 {
		clients.Go(func() {
			for n := range int64(50) {
				group := fmt.Sprint(i % 3)
				<-c.Commit(&CommitRequest{Group: group, Generation: -1, Offsets: []Offset{at(int32(i), n)}})
				req := request("")
				req.Group, req.RebalanceTimeout = group, time.Second
				joined := c.Join(&req)
				c.FetchAll(group)
				c.List()
				<-c.Delete(group)
				c.tick(time.NewTimer(time.Hour))
				if res := <-joined; res.Err == nil {
					c.Leave(group, []LeavingMember{{MemberID: res.MemberID}})
				}
			}
		})
	}
	clients.Wait()
	l := loader{groups: map[string]*group{}, limits: c.limits()}
	if err := l.readAll(t.Context(), topic, 0, c.clock); err != nil {
		t.Fatal(err)
	}
	for id, g := range l.groups {
		if got, err := c.FetchAll(id); err != nil || !reflect.DeepEqual(got, g.all()) {
			t.Errorf("%s: %+v, %v, and in the log %+v", id, got, err, g.all())
		}
	}
}

// The partition is the one that Kafka's tools look in. The hashes are Java's, one
// of them the number without an opposite.
func TestPartitionFor(t *testing.T) {
	for group, want := range map[string]int32{
		"hello":              99162322 % 50,
		"polygenelubricants": 0,
		"":                   0,
		"my-group":           12, // its hash is -1906497762
	} {
		if got := PartitionFor(group, 50); got != want {
			t.Errorf("%q: %d, want %d", group, got, want)
		}
	}
	if got := PartitionFor("Aa", 50); got != 2112%50 || got != PartitionFor("BB", 50) {
		t.Errorf("Aa: %d, want %d, as for BB", got, 2112%50)
	}
	if got := PartitionFor("\U0001F600", 1000); got != (31*0xD83D+0xDE00)%1000 { // two units in UTF-16
		t.Errorf("a character beyond 16 bits: %d", got)
	}
}
