package api

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/wire"
)

// inSession makes req the one of that epoch in a session.
func inSession(req *kmsg.FetchRequest, id, epoch int32) *kmsg.FetchRequest {
	req.Version = max(req.Version, 12)
	req.SessionID, req.SessionEpoch = id, epoch
	return req
}

// forgets has req forget a partition.
func forgets(req *kmsg.FetchRequest, name string, indexes ...int32) *kmsg.FetchRequest {
	t := kmsg.NewFetchRequestForgottenTopic()
	t.Topic, t.Partitions = name, indexes
	req.ForgottenTopics = append(req.ForgottenTopics, t)
	return req
}

// asksFor asks for n partitions of a topic.
func asksFor(name string, n int) *kmsg.FetchRequest {
	req := fetchRequest()
	t := kmsg.NewFetchRequestTopic()
	t.Topic = name
	for i := range int32(n) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = i
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// nothingNew is what is found in partitions that are empty.
func nothingNew(n int) []wire.FetchedPartition { return make([]wire.FetchedPartition, n) }

// begin starts a session and fails the test if it gets none.
func (c *fetchSessions) begin(t *testing.T, req *kmsg.FetchRequest, now time.Time) int32 {
	t.Helper()
	id := c.tryBegin(req, now)
	if id == 0 {
		t.Fatal("no session was begun")
	}
	return id
}

func (c *fetchSessions) tryBegin(req *kmsg.FetchRequest, now time.Time) int32 {
	scope := c.open(inSession(req, 0, wantsSession), now)
	id, _, _ := c.tell(&scope, nothingNew(len(scope.asks)), now)
	return id
}

// names lists the partitions of asks.
func names(asks []fetchAsk) string {
	var out []string
	for _, a := range asks {
		out = append(out, fmt.Sprintf("%s-%d@%d", a.topic, a.index, a.offset))
	}
	return strings.Join(out, " ")
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// What each session id and epoch mean, as Kafka's FetchManager has it.
func TestFetchSessionEpochs(t *testing.T) {
	for name, tc := range map[string]struct {
		id      int32 // 0: none, 1: the session's, 2: one that is not there
		epoch   int32
		version int16
		want    wire.ErrorCode
		asks    int
		answer  string // none, new, same
		kept    bool   // the session is there afterwards
	}{
		"noSession":         {0, finalEpoch, 12, wire.None, 1, "none", true},
		"newSession":        {0, wantsSession, 12, wire.None, 1, "new", true},
		"newInItsPlace":     {1, wantsSession, 12, wire.None, 1, "new", false},
		"newForUnknown":     {2, wantsSession, 12, wire.None, 1, "new", true},
		"closed":            {1, finalEpoch, 12, wire.None, 1, "none", false},
		"closedTwice":       {2, finalEpoch, 12, wire.None, 1, "none", true},
		"next":              {1, 1, 12, wire.None, 3, "same", true},
		"unknown":           {2, 1, 12, wire.FetchSessionIDNotFound, 0, "none", true},
		"zeroIsNoSession":   {0, 1, 12, wire.FetchSessionIDNotFound, 0, "none", true},
		"tooEarly":          {1, 2, 12, wire.InvalidFetchSessionEpoch, 0, "none", true},
		"below":             {1, -2, 12, wire.InvalidFetchSessionEpoch, 0, "none", true},
		"byIDs":             {1, 1, 13, wire.FetchSessionTopicIDError, 0, "none", true},
		"beforeThereWasOne": {0, finalEpoch, 6, wire.None, 1, "none", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFetchSessions(10, 1<<20)
			id := c.begin(t, fetchRequest(ask{"press", 0, 0}, ask{"press", 1, 0}), noon)
			req := fetchRequest(ask{"press", 2, 5})
			req.Version, req.SessionID, req.SessionEpoch = tc.version, []int32{0, id, id ^ 1}[tc.id], tc.epoch
			scope := c.open(req, noon)
			if scope.code != tc.want || len(scope.asks) != tc.asks {
				t.Errorf("%v with %d partitions, want %v with %d", scope.code, len(scope.asks), tc.want, tc.asks)
			}
			got, code, _ := c.tell(&scope, nothingNew(len(scope.asks)), noon)
			answer := map[bool]string{true: "same", false: "new"}[got == id]
			if got == 0 {
				answer = "none"
			}
			if answer != tc.answer || code != tc.want {
				t.Errorf("told %s session and %v, want %s and %v", answer, code, tc.answer, tc.want)
			}
			if kept := c.sessions[id] != nil; kept != tc.kept {
				t.Errorf("the session is kept: %v, want %v", kept, tc.kept)
			}
		})
	}
}

// Each request has the epoch after the last; behind the largest comes 1.
func TestFetchSessionEpochsFollow(t *testing.T) {
	for epoch, want := range map[int32]int32{1: 2, 1<<31 - 2: 1<<31 - 1, 1<<31 - 1: 1} {
		if got := nextEpoch(epoch); got != want {
			t.Errorf("after %d comes %d, want %d", epoch, got, want)
		}
	}
	c := newFetchSessions(10, 1<<20)
	id := c.begin(t, fetchRequest(ask{"press", 0, 0}), noon)
	for epoch := int32(1); epoch < 4; epoch++ {
		if scope := c.open(inSession(fetchRequest(), id, epoch), noon); scope.code != wire.None {
			t.Errorf("epoch %d: %v", epoch, scope.code)
		}
		if scope := c.open(inSession(fetchRequest(), id, epoch), noon); scope.code != wire.InvalidFetchSessionEpoch {
			t.Errorf("epoch %d once more: %v", epoch, scope.code)
		}
	}
}

// A session's request adds partitions at the end, changes those that it has, and
// forgets others; one without partitions ends.
func TestFetchSessionChanges(t *testing.T) {
	c := newFetchSessions(10, 1<<20)
	id := c.begin(t, fetchRequest(ask{"press", 0, 0}, ask{"press", 1, 0}, ask{"oven", 0, 0}), noon)
	for epoch, step := range []struct {
		req  *kmsg.FetchRequest
		want string
	}{
		{fetchRequest(), "press-0@0 press-1@0 oven-0@0"},
		{fetchRequest(ask{"press", 1, 7}, ask{"oven", 1, 3}), "press-0@0 press-1@7 oven-0@0 oven-1@3"},
		{forgets(fetchRequest(ask{"press", 0, 4}), "press", 1, 9), "press-0@4 oven-0@0 oven-1@3"},
		{forgets(fetchRequest(), "none", 0), "press-0@4 oven-0@0 oven-1@3"},
		{forgets(forgets(fetchRequest(), "press", 0), "oven", 1), "oven-0@0"},
	} {
		scope := c.open(inSession(step.req, id, int32(epoch)+1), noon)
		if got := names(scope.asks); got != step.want {
			t.Errorf("epoch %d: %s, want %s", epoch+1, got, step.want)
		}
	}
	scope := c.open(inSession(forgets(fetchRequest(ask{"press", 5, 1}), "oven", 0), id, 6), noon)
	if got := names(scope.asks); got != "press-5@1" {
		t.Errorf("at its last: %s", got)
	}
	scope = c.open(inSession(forgets(fetchRequest(ask{"press", 6, 1}), "press", 5, 6), id, 7), noon)
	if got, _, _ := c.tell(&scope, nothingNew(1), noon); got != 0 || names(scope.asks) != "press-6@1" || len(c.sessions) != 0 || c.bytes != 0 {
		t.Errorf("an empty session: %d for %s, %d sessions of %d bytes; want none", got, names(scope.asks), len(c.sessions), c.bytes)
	}
}

// What is news of a partition, and what is not.
func TestFetchSessionNews(t *testing.T) {
	none := wire.FetchedPartition{HighWatermark: 5, LogStartOffset: 2}
	records := wire.FetchedPartition{HighWatermark: 5, LogStartOffset: 2, Records: [][]byte{{1}}}
	failed := wire.FetchedPartition{HighWatermark: 5, LogStartOffset: 2, Code: wire.KafkaStorageError}
	unknown := wire.FetchedPartition{HighWatermark: -1, LogStartOffset: -1, Code: wire.UnknownTopicOrPartition}
	for name, tc := range map[string]struct {
		found []wire.FetchedPartition
		want  []bool
	}{
		"nothing":            {[]wire.FetchedPartition{none, none, none}, []bool{true, false, false}},
		"recordsEachTime":    {[]wire.FetchedPartition{none, records, records, none}, []bool{true, true, true, false}},
		"highWatermark":      {[]wire.FetchedPartition{none, {HighWatermark: 6, LogStartOffset: 2}, {HighWatermark: 6, LogStartOffset: 2}}, []bool{true, true, false}},
		"logStartOffset":     {[]wire.FetchedPartition{none, {HighWatermark: 5, LogStartOffset: 3}, {HighWatermark: 5, LogStartOffset: 3}}, []bool{true, true, false}},
		"errorsEachTime":     {[]wire.FetchedPartition{none, failed, failed}, []bool{true, true, true}},
		"theEndOfAnError":    {[]wire.FetchedPartition{none, failed, none, none}, []bool{true, true, true, false}},
		"createdAfterwards":  {[]wire.FetchedPartition{unknown, unknown, none, none}, []bool{true, true, true, false}},
		"emptyFromTheStart":  {[]wire.FetchedPartition{{}, {}}, []bool{true, false}},
		"theStartOfAnUnread": {[]wire.FetchedPartition{{HighWatermark: -1, LogStartOffset: 0}, {HighWatermark: -1, LogStartOffset: 0}}, []bool{true, false}},
	} {
		s := newFetchSession(1, false, noon)
		target := fetchTarget{topic: "press"}
		s.want(fetchAsk{fetchTarget: target})
		for i := range tc.found {
			if got := s.news(target, &tc.found[i]); got != tc.want[i] {
				t.Errorf("%s, answer %d: news %v, want %v", name, i, got, tc.want[i])
			}
		}
		if s.news(fetchTarget{topic: "press", index: 1}, &records) {
			t.Errorf("%s: a partition that nobody asks for is news", name)
		}
	}
}

// Partitions take turns: one that had records comes last in the next answer.
func TestFetchSessionTakesTurns(t *testing.T) {
	c := newFetchSessions(10, 1<<20)
	id := c.begin(t, asksFor("press", 4), noon)
	some := [][]byte{{1}}
	for epoch, step := range []struct {
		records []bool // by what is asked for, in its order
		want    string // the order before
	}{
		{[]bool{true, false, true, false}, "press-0@0 press-1@0 press-2@0 press-3@0"},
		{[]bool{false, true, false, false}, "press-1@0 press-3@0 press-0@0 press-2@0"},
		{[]bool{true, true, true, true}, "press-1@0 press-0@0 press-2@0 press-3@0"},
		{[]bool{false, false, false, true}, "press-1@0 press-0@0 press-2@0 press-3@0"},
		{nil, "press-1@0 press-0@0 press-2@0 press-3@0"},
	} {
		scope := c.open(inSession(fetchRequest(), id, int32(epoch)+1), noon)
		if got := names(scope.asks); got != step.want {
			t.Errorf("epoch %d: %s, want %s", epoch+1, got, step.want)
		}
		found := nothingNew(4)
		for i, has := range step.records {
			if has {
				found[i].Records = some
			}
		}
		c.tell(&scope, found, noon)
	}
}

// The answer to a fetch that another one over the same session has overtaken is an
// error, and the wait of the first is over.
func TestFetchSessionOvertaken(t *testing.T) {
	c := newFetchSessions(10, 1<<20)
	id := c.begin(t, fetchRequest(ask{"press", 0, 0}), noon)
	first := c.open(inSession(fetchRequest(), id, 1), noon)
	select {
	case <-first.superseded:
		t.Error("the first is overtaken from the start")
	default:
	}
	second := c.open(inSession(fetchRequest(), id, 2), noon)
	select {
	case <-first.superseded:
	default:
		t.Error("the first waits on")
	}
	if got, code, told := c.tell(&first, nothingNew(1), noon); got != id || code != wire.InvalidFetchSessionEpoch || told(0) {
		t.Errorf("the first: session %d, %v, told %v", got, code, told(0))
	}
	if got, code := c.tellNone(&first); got != id || code != wire.InvalidFetchSessionEpoch {
		t.Errorf("the first, without partitions: session %d, %v", got, code)
	}
	if got, code := c.tellNone(&second); got != id || code != wire.None {
		t.Errorf("the second, without partitions: session %d, %v", got, code)
	}
	c.open(inSession(fetchRequest(), id, finalEpoch), noon)
	select {
	case <-second.superseded:
	default:
		t.Error("the second waits on in a session that was closed")
	}
}

// Who gets a place when all are taken (Kafka's rules): whoever finds a session that
// is unused for over two minutes; or one that is older than that and smaller.
func TestFetchSessionEviction(t *testing.T) {
	type session struct {
		parts   int
		created time.Duration // before noon
		used    time.Duration
	}
	for name, tc := range map[string]struct {
		have  []session
		parts int
		want  int // index of the one that goes; -1: none, and no session begins
	}{
		"allYoung":       {[]session{{1, 60 * second, second}, {1, 30 * second, second}}, 9, -1},
		"notYetUnused":   {[]session{{9, 200 * second, 119 * second}, {9, 200 * second, 120 * second}}, 1, -1},
		"oneUnused":      {[]session{{9, 200 * second, 119 * second}, {9, 200 * second, 121 * second}}, 1, 1},
		"longestUnused":  {[]session{{9, 400 * second, 300 * second}, {1, 400 * second, 200 * second}}, 1, 0},
		"smallerAndOld":  {[]session{{5, 121 * second, second}, {4, 121 * second, second}}, 5, 1},
		"notSmaller":     {[]session{{5, 121 * second, second}, {6, 121 * second, second}}, 5, -1},
		"smallerNotOld":  {[]session{{3, 120 * second, second}, {6, 121 * second, second}}, 5, -1},
		"smallestIsLeft": {[]session{{3, 119 * second, second}, {4, 121 * second, second}}, 5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFetchSessions(2, 1<<20)
			var ids []int32
			for _, s := range tc.have {
				id := c.begin(t, asksFor("press", s.parts), noon.Add(-s.created))
				c.open(inSession(fetchRequest(), id, 1), noon.Add(-s.used))
				ids = append(ids, id)
			}
			id := c.tryBegin(asksFor("oven", tc.parts), noon)
			if (id != 0) != (tc.want >= 0) || len(c.sessions) != 2 || c.evictions != int64(min(tc.want+1, 1)) {
				t.Errorf("session %d, of %d, after %d evictions", id, len(c.sessions), c.evictions)
			}
			for i, have := range ids {
				if c.sessions[have] == nil != (i == tc.want) {
					t.Errorf("session %d of %v is there: %v", i, tc.have, c.sessions[have] != nil)
				}
			}
		})
	}
}

// Sessions are bounded by memory too: one that does not fit is not begun, and one
// that grows until it does not fit ends. All that was counted is given back.
func TestFetchSessionMemory(t *testing.T) {
	room := 10 * fetchTarget{topic: "press"}.bytes()
	c := newFetchSessions(100, room)
	if id := c.tryBegin(asksFor("press", 11), noon); id != 0 {
		t.Error("a session was begun that does not fit")
	}
	first := c.begin(t, asksFor("press", 6), noon)
	if id := c.tryBegin(asksFor("press", 5), noon); id != 0 {
		t.Error("a session was begun beside another that does not fit")
	}
	second := c.begin(t, asksFor("press", 4), noon)
	if c.bytes != room {
		t.Errorf("%d bytes are counted, want %d", c.bytes, room)
	}
	if scope := c.open(inSession(fetchRequest(), first, 1), noon); scope.code != wire.None {
		t.Errorf("a full cache: %v", scope.code)
	}
	scope := c.open(inSession(asksFor("press", 5), second, 1), noon)
	if scope.code != wire.FetchSessionIDNotFound || len(scope.asks) != 0 || c.bytes != 6*(fetchTarget{topic: "press"}).bytes() {
		t.Errorf("outgrown: %v, %d partitions, %d bytes", scope.code, len(scope.asks), c.bytes)
	}
	long := strings.Repeat("x", int(room))
	if id := c.tryBegin(asksFor(long, 1), noon); id != 0 {
		t.Error("a session was begun that holds a name of that length")
	}
	c.open(inSession(forgets(fetchRequest(), "press", 4, 5), first, 2), noon)
	if c.bytes != 4*(fetchTarget{topic: "press"}).bytes() {
		t.Errorf("with two partitions less: %d bytes", c.bytes)
	}
	scope = c.open(inSession(forgets(fetchRequest(), "press", 0, 1, 2, 3), first, 3), noon)
	if scope.code != wire.None || c.bytes != 0 || len(c.sessions) != 0 {
		t.Errorf("at the end: %v, %d bytes, %d sessions", scope.code, c.bytes, len(c.sessions))
	}
	if off := newFetchSessions(0, room); off.tryBegin(asksFor("press", 1), noon) != 0 {
		t.Error("a session was begun where none are allowed")
	}
}

// A partition counts for what it really takes of memory.
func TestFetchSessionPartBytes(t *testing.T) {
	const n = 20000
	req := asksFor("press", n)
	c := newFetchSessions(1, 1<<40)
	before := inUse()
	id := c.begin(t, req, noon)
	scope := c.open(inSession(fetchRequest(), id, 1), noon) // and one fetch over it
	found := make([]wire.FetchedPartition, n)
	parts := make([]fetchPart, n)
	per := (int64(inUse()) - int64(before)) / n
	t.Logf("%d bytes a partition, counted as %d", per, sessionPartBytes)
	if per > sessionPartBytes || per < sessionPartBytes/3 {
		t.Errorf("a partition takes %d bytes and counts for %d", per, sessionPartBytes)
	}
	runtime.KeepAlive(c)
	runtime.KeepAlive(scope)
	runtime.KeepAlive(found)
	runtime.KeepAlive(parts)
	runtime.KeepAlive(req)
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Whatever happens to partitions and whatever a client changes in its session: what
// it has been told, put together, is what it would have been told in full.
func TestFetchSessionTellsAll(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := newFetchSessions(2, 1<<20)
		truth := make([]wire.FetchedPartition, 8)
		view := map[int32]wire.FetchedPartition{}
		wanted := map[int32]bool{}
		var id, epoch int32
		for range 100 {
			change(rng, truth)
			req := inSession(fetchRequest(), id, epoch)
			req.Version = 13
			for i := range int32(len(truth)) {
				switch {
				case epoch == 0 && wanted[i], rng.IntN(6) == 0 && !wanted[i]:
					wanted[i] = true
					req.Topics = append(req.Topics, fetchRequest(ask{"", i, 0}).Topics...)
				case epoch > 0 && wanted[i] && rng.IntN(12) == 0:
					delete(wanted, i)
					delete(view, i)
					forgets(req, "", i)
				}
			}
			scope := c.open(req, noon)
			if scope.code != wire.None {
				t.Fatalf("seed %d: %v", seed, scope.code)
			}
			found := make([]wire.FetchedPartition, len(scope.asks))
			for i, a := range scope.asks {
				found[i] = truth[a.index]
			}
			newID, code, told := c.tell(&scope, found, noon)
			if code != wire.None {
				t.Fatalf("seed %d: told %v", seed, code)
			}
			for i, a := range scope.asks {
				if told(i) && wanted[a.index] {
					view[a.index] = found[i]
				} else if len(found[i].Records) > 0 || found[i].Code != wire.None {
					t.Fatalf("seed %d: partition %d has news that are not told", seed, a.index)
				}
			}
			if id, epoch = newID, nextEpoch(epoch); newID == 0 {
				epoch = 0
				clear(wanted)
				clear(view)
				continue
			}
			for i := range wanted {
				if got, want := view[i], truth[i]; got.HighWatermark != want.HighWatermark || got.LogStartOffset != want.LogStartOffset || got.Code != want.Code {
					t.Fatalf("seed %d: of partition %d the client knows %+v, want %+v", seed, i, got, want)
				}
			}
		}
	}
}

// change lets something happen to some of the partitions.
func change(rng *rand.Rand, partitions []wire.FetchedPartition) {
	for i := range partitions {
		p := &partitions[i]
		p.Records = nil
		switch rng.IntN(8) {
		case 0:
			p.HighWatermark++
			p.Records = [][]byte{{1}}
		case 1:
			p.HighWatermark++
		case 2:
			p.LogStartOffset++
		case 3:
			p.Code = []wire.ErrorCode{wire.None, wire.KafkaStorageError}[rng.IntN(2)]
		}
	}
}
