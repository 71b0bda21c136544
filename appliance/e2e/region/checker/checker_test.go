package checker

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func send(client int, v Value) Event { return Event{Kind: Send, Client: client, Value: v} }

func ack(v Value, offset int64) Event { return Event{Kind: Ack, Value: v, Offset: offset} }

func poll(client int, v Value, offset int64) Event {
	return Event{Kind: Poll, Client: client, Value: v, Offset: offset}
}

func stored(v Value, offset int64) Event { return Event{Kind: Stored, Value: v, Offset: offset} }
func start(offset int64) Event           { return Event{Kind: Start, Offset: offset} }
func group(e Event) Event                { e.Group = 1; return e }

// two is a sound beginning: 1 and 2 are sent and acked at 0 and 1.
var two = []Event{send(1, 1), send(1, 2), ack(1, 0), ack(2, 1)}

// Each anomaly is found where it is, and none where there is none.
func TestAnomalies(t *testing.T) {
	end := []Event{start(0), stored(1, 0), stored(2, 1)}
	for name, tc := range map[string]struct {
		rules  Rules
		events []Event
		want   Anomaly
	}{
		"sound":                      {events: slices.Concat(two, []Event{poll(1, 1, 0), poll(1, 2, 1)}, end)},
		"ackedAndGone":               {events: slices.Concat(two, end[:2]), want: LostWrite},
		"ackedAndGoneAsItMay":        {rules: Rules{MayLose: true}, events: slices.Concat(two, end[:2])},
		"ackedElsewhere":             {events: slices.Concat(two[:3], []Event{ack(2, 5)}, end), want: Inconsistent},
		"ackedNowhereSaid":           {events: slices.Concat(two[:3], []Event{ack(2, -1)}, end)},
		"retained":                   {events: slices.Concat(two, []Event{start(1), stored(2, 1)})},
		"twoAckedAtOne":              {events: slices.Concat(two[:3], []Event{ack(2, 0)}, end), want: Inconsistent},
		"twoAckedAtOneLongAgo":       {events: slices.Concat(two[:3], []Event{ack(2, 0), start(1)}), want: Inconsistent},
		"readerTold":                 {events: slices.Concat(two, []Event{{Kind: Gone, Client: 1}}, end), want: OffsetGone},
		"storedTwice":                {events: slices.Concat(two, end, []Event{stored(2, 2)}), want: Duplicate},
		"storedTwiceAsItMay":         {rules: Rules{MayRepeat: true}, events: slices.Concat(two, end, []Event{stored(2, 2)})},
		"neverSent":                  {events: slices.Concat(two, end, []Event{stored(3, 2)}), want: Invented},
		"foreignRead":                {events: slices.Concat(two, []Event{poll(1, Foreign, 0)}, end), want: Invented},
		"farAway":                    {events: slices.Concat(two, []Event{poll(1, 1, 1<<40)}, end), want: Invented},
		"readAndChanged":             {events: slices.Concat(two, []Event{send(1, 3), poll(1, 3, 1)}, end), want: Inconsistent},
		"readTwoWays":                {events: slices.Concat(two, []Event{send(1, 3), poll(1, 2, 1), poll(2, 3, 1)}, end), want: Inconsistent},
		"readAndGone":                {rules: Rules{MayLose: true}, events: slices.Concat(two, []Event{poll(1, 2, 1)}, end[:2]), want: TakenBack},
		"skipped":                    {events: slices.Concat(two, []Event{send(1, 3), ack(3, 2), poll(1, 1, 0), poll(1, 3, 2)}, end, []Event{stored(3, 2)}), want: PollSkip},
		"readerLedBack":              {events: slices.Concat(two, []Event{poll(1, 1, 0), poll(1, 2, 1), poll(1, 1, 0)}, end), want: Backwards},
		"readerAssignedAnew":         {events: slices.Concat(two, []Event{poll(1, 2, 1), {Kind: Assign, Client: 1}, poll(1, 1, 0)}, end)},
		"readersApart":               {events: slices.Concat(two, []Event{poll(1, 2, 1), poll(2, 1, 0)}, end)},
		"otherOrder":                 {events: []Event{send(1, 1), send(1, 2), start(0), stored(2, 0), stored(1, 1)}, want: Reordered},
		"otherOrderAsItMay":          {rules: Rules{MayReorder: true}, events: []Event{send(1, 1), send(1, 2), start(0), stored(2, 0), stored(1, 1)}},
		"otherOrderOfTwoProducers":   {events: []Event{send(1, 1), send(2, 2), start(0), stored(2, 0), stored(1, 1)}},
		"sentLateAndBefore":          {events: []Event{send(1, 1), ack(1, 1), send(2, 2), ack(2, 0), start(0), stored(2, 0), stored(1, 1)}, want: LateBefore},
		"sentAtOnceInEitherOrder":    {events: []Event{send(1, 1), send(2, 2), ack(1, 1), ack(2, 0), start(0), stored(2, 0), stored(1, 1)}},
		"hole":                       {events: slices.Concat(two[:1], []Event{start(0), stored(1, 1)}), want: Hole},
		"unsureAndStored":            {events: []Event{send(1, 1), {Kind: Unsure, Value: 1}, start(0), stored(1, 0)}},
		"unsureAndGone":              {events: []Event{send(1, 1), {Kind: Unsure, Value: 1}, start(0)}},
		"refusedAndGone":             {events: []Event{send(1, 1), {Kind: Refuse, Value: 1}, start(0)}},
		"refusedAndStored":           {events: []Event{send(1, 1), {Kind: Refuse, Value: 1}, start(0), stored(1, 0)}, want: RefusedKept},
		"groupGotAll":                {events: slices.Concat(two, []Event{group(poll(1, 1, 0)), group(poll(2, 2, 1))}, end)},
		"groupGotTheSecondTwice":     {events: slices.Concat(two, []Event{group(poll(1, 1, 0)), group(poll(1, 2, 1)), group(poll(2, 2, 1))}, end)},
		"groupMissedOne":             {events: slices.Concat(two, []Event{group(poll(2, 2, 1))}, end), want: Undelivered},
		"readAndAckedOfTwoContents":  {events: slices.Concat(two, []Event{send(1, 3), start(0), stored(1, 0), stored(3, 1)}), want: Inconsistent},
		"storedInAnotherPartition":   {events: slices.Concat(two, end, []Event{{Kind: Start, Partition: 1}, {Kind: Stored, Partition: 1, Value: 2}}), want: Invented},
		"ackedAndNeverSent":          {events: slices.Concat(two, end, []Event{ack(9, 2)}), want: Invented},
		"ackedAtTheLeaderAlone":      {rules: Rules{MayLose: true}, events: slices.Concat(two, []Event{send(1, 3), start(0), stored(1, 0), stored(3, 1)})},
		"faultsAreNoted":             {events: []Event{{Kind: Fault, Note: "kill"}}},
		"ackedTwiceAtOnePlaceLossy":  {rules: Rules{MayLose: true}, events: slices.Concat(two[:3], []Event{ack(2, 0)}, end)},
		"lateAndBeforeAfterALoss":    {rules: Rules{MayLose: true}, events: []Event{send(1, 1), ack(1, 1), send(2, 2), ack(2, 0), start(0), stored(2, 0)}},
		"storedTwiceIsNoOtherOrder":  {rules: Rules{MayRepeat: true}, events: slices.Concat(two, end, []Event{stored(1, 2)})},
		"twoPartitionsTwoOrders":     {events: []Event{send(1, 1), {Kind: Send, Client: 1, Partition: 1, Value: 2}, {Kind: Stored, Partition: 1, Value: 2}, stored(1, 0)}},
		"pollOfARecordNeverAcked":    {events: []Event{send(1, 1), poll(1, 1, 0), start(0), stored(1, 0)}},
		"pollOfARecordThatIsTheEnds": {events: []Event{send(1, 1), poll(1, 1, 0), start(0)}, want: TakenBack},
	} {
		t.Run(name, func(t *testing.T) {
			got := Check(tc.rules, tc.events)
			if tc.want == "" && !got.Sound() || tc.want != "" && got.Counts[tc.want] == 0 {
				t.Errorf("found %v, want %q\n%v", got.Counts, tc.want, got)
			}
		})
	}
}

// sound makes a history as a cluster without a fault has it: producers with several
// records in flight, readers that begin anew now and then, a group, and records that
// were given up.
func sound(rng *rand.Rand) []Event {
	const partitions, producers = 2, 3
	var history []Event
	var logs [partitions][]Value
	var pending [partitions][]Event
	next := map[int]map[int32]int64{1: {}, 2: {}, 3: {}} // readers; 3 is a group's
	read := func(client int, p int32) {
		for n := next[client][p]; n < int64(len(logs[p])); n++ {
			history = append(history, Event{Kind: Poll, Client: client, Group: client / 3, Partition: p, Offset: n, Value: logs[p][n]})
		}
		next[client][p] = int64(len(logs[p]))
	}
	for v := Value(1); v < 200; v++ {
		p := rng.Int32N(partitions)
		e := Event{Kind: Send, Client: rng.IntN(producers), Partition: p, Value: v}
		history, pending[p] = append(history, e), append(pending[p], e)
		for len(pending[p]) > rng.IntN(5) {
			e := pending[p][0]
			pending[p] = pending[p][1:]
			switch fate := rng.IntN(20); {
			case fate == 0:
				e.Kind = Refuse
			case fate == 1:
				e.Kind = Unsure
			case fate == 2:
				e.Kind = Unsure
				logs[p] = append(logs[p], e.Value)
			default:
				e.Kind, e.Offset = Ack, int64(len(logs[p]))
				logs[p] = append(logs[p], e.Value)
			}
			history = append(history, e)
		}
		if client := 1 + rng.IntN(3); rng.IntN(30) == 0 {
			history = append(history, Event{Kind: Assign, Client: client, Group: client / 3, Partition: p})
			next[client][p] = rng.Int64N(next[client][p] + 1)
		}
		read(1+rng.IntN(3), p)
	}
	for p := range int32(partitions) {
		read(3, p)
		history = append(history, Event{Kind: Start, Partition: p})
		for offset, v := range logs[p] {
			history = append(history, Event{Kind: Stored, Partition: p, Offset: int64(offset), Value: v})
		}
	}
	return history
}

// faults break a sound history at a place that rng draws. Each says what has to be
// found then, or nothing if the place did not fit.
var faults = map[string]func(rng *rand.Rand, h []Event) ([]Event, []Anomaly){
	"loseStored": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i := draw(rng, h, Stored)
		return shift(slices.Delete(h, i, i+1), i, -1), []Anomaly{LostWrite, Inconsistent, TakenBack}
	},
	"loseTheEnd": func(_ *rand.Rand, h []Event) ([]Event, []Anomaly) {
		return h[:len(h)-3], []Anomaly{LostWrite, TakenBack, Undelivered}
	},
	"storeTwice": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i := draw(rng, h, Stored)
		again := h[i]
		again.Offset++
		return shift(slices.Insert(h, i+1, again), i+2, 1), []Anomaly{Duplicate}
	},
	"swapStored": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i := draw(rng, h, Stored)
		if i+1 == len(h) || h[i+1].Kind != Stored {
			return nil, nil
		}
		h[i].Value, h[i+1].Value = h[i+1].Value, h[i].Value
		return h, []Anomaly{Inconsistent, Reordered}
	},
	"readOther": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i := draw(rng, h, Poll)
		h[i].Value = Foreign
		return h, []Anomaly{Invented}
	},
	"readPast": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i := draw(rng, h, Poll)
		for _, e := range h[i+1:] { // a reader that gets no more is not led past anything
			if e.Client == h[i].Client && e.Partition == h[i].Partition && e.Group == h[i].Group && (e.Kind == Poll || e.Kind == Assign) {
				if e.Kind == Assign || i == 0 {
					return nil, nil
				}
				first := !slices.ContainsFunc(h[:i], func(b Event) bool {
					return b.Kind == Poll && b.Client == e.Client && b.Partition == e.Partition && b.Group == e.Group
				})
				if first || assignedJustBefore(h[:i], e) {
					return nil, nil
				}
				return slices.Delete(h, i, i+1), []Anomaly{PollSkip}
			}
		}
		return nil, nil
	},
	"readBack": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i := draw(rng, h, Poll)
		return slices.Insert(h, i+1, h[i]), []Anomaly{Backwards}
	},
	"ackOther": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i := draw(rng, h, Ack)
		h[i].Offset++
		return h, []Anomaly{Inconsistent}
	},
	"storeRefused": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) {
		i, j := draw(rng, h, Refuse), 0
		if i < 0 {
			return nil, nil
		}
		for j = range h {
			if h[j].Kind == Start && h[j].Partition == h[i].Partition {
				break
			}
		}
		h = slices.Insert(h, j+1, Event{Kind: Stored, Partition: h[i].Partition, Value: h[i].Value})
		return shift(h, j+2, 1), []Anomaly{RefusedKept}
	},
	"ackLate": func(rng *rand.Rand, h []Event) ([]Event, []Anomaly) { // a send moves behind the ack of a later offset
		i := draw(rng, h, Ack)
		from := slices.IndexFunc(h, func(e Event) bool { return e.Kind == Send && e.Value == h[i].Value })
		for j := i + 1; j < len(h); j++ {
			if h[j].Kind == Ack && h[j].Partition == h[i].Partition {
				s, a := h[from], h[i]
				h = slices.Insert(h, j+1, s, a)
				h = slices.Delete(h, i, i+1)
				return slices.Delete(h, from, from+1), []Anomaly{LateBefore}
			}
		}
		return nil, nil
	},
}

// assignedJustBefore reports whether e's reader has polled nothing since it was assigned.
func assignedJustBefore(h []Event, e Event) bool {
	for _, b := range slices.Backward(h) {
		if b.Client == e.Client && b.Partition == e.Partition && b.Group == e.Group && (b.Kind == Poll || b.Kind == Assign) {
			return b.Kind == Assign
		}
	}
	return true
}

// draw returns where an event of the kind is, or -1.
func draw(rng *rand.Rand, h []Event, kind Kind) int {
	var places []int
	for i, e := range h {
		if e.Kind == kind {
			places = append(places, i)
		}
	}
	if len(places) == 0 {
		return -1
	}
	return places[rng.IntN(len(places))]
}

// shift moves the stored records from i on that belong to one partition.
func shift(h []Event, i int, by int64) []Event {
	for ; i < len(h) && h[i].Kind == Stored; i++ {
		h[i].Offset += by
	}
	return h
}

// Sound histories of 500 seeds are sound, and what is broken in them is found.
func TestSeededHistories(t *testing.T) {
	caught := map[string]int{}
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 0))
		history := sound(rng)
		if got := Check(Rules{}, history); !got.Sound() {
			t.Fatalf("seed %d: a sound history shows %v", seed, got)
		}
		for _, name := range slices.Sorted(maps.Keys(faults)) {
			broken, want := faults[name](rng, slices.Clone(history))
			if broken == nil {
				continue
			}
			got := Check(Rules{}, broken)
			if !slices.ContainsFunc(want, func(a Anomaly) bool { return got.Counts[a] > 0 }) {
				t.Errorf("seed %d, %s: found %v, want one of %q", seed, name, got.Counts, want)
			}
			caught[name]++
		}
	}
	for name := range faults {
		if caught[name] < 50 {
			t.Errorf("%s fitted into %d histories of 500", name, caught[name])
		}
	}
}

// What is found is counted, and told with a bound.
func TestReportIsBounded(t *testing.T) {
	c := New(Rules{})
	for offset := range int64(1000) {
		c.Take(poll(1, Foreign, offset))
	}
	got := c.Finish()
	if got.Counts[Invented] != 1000 || len(got.Findings) > 3*maxShown {
		t.Errorf("%d counted, %d told", got.Counts[Invented], len(got.Findings))
	}
	if text := fmt.Sprint(got); len(text) > 20_000 {
		t.Errorf("the report has %d bytes", len(text))
	}
}
