package zk

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
)

func elected(t *testing.T, address string) (*Session, *Term) {
	t.Helper()
	s, _ := begin(t, config(address))
	term, won, err := s.Elect(t.Context(), 1)
	if err != nil || !won {
		t.Fatal(won, err)
	}
	return s, term
}

func TestPartitionsJSON(t *testing.T) {
	of := []cluster.TopicPartition{{Topic: "t", Index: 0}, {Topic: "u", Index: 3}}
	text := `{"version":1,"partitions":[{"topic":"t","partition":0},{"topic":"u","partition":3}]}`
	if got := string(encodePartitions(of)); got != text {
		t.Errorf("%s, want %s", got, text)
	}
	if got, err := decodePartitions("/x", []byte(text)); err != nil || !slices.Equal(got, of) {
		t.Errorf("%v, %v", got, err)
	}
	if got, want := string(encode(logDirEventJSON{1, 7, 1})), `{"version":1,"broker":7,"event":1}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := string(encodeReassignments(map[cluster.TopicPartition][]int32{of[1]: {1, 2}})),
		`{"version":1,"partitions":[{"topic":"u","partition":3,"replicas":[1,2]}]}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What leaders and brokers tell the controller is heard, in order; a note that cannot
// be read is in nobody's way.
func testNotifications(t *testing.T, address string) {
	s, term := elected(t, address)
	if of, nodes, err := term.ISRNotifications(t.Context()); len(of)+len(nodes) > 0 || err != nil {
		t.Fatal(of, nodes, err)
	}
	if brokers, nodes, err := term.LogDirEvents(t.Context()); len(brokers)+len(nodes) > 0 || err != nil {
		t.Fatal(brokers, nodes, err)
	}
	var want []cluster.TopicPartition
	for i := range int32(maxNotifiedPartitions + 1) {
		want = append(want, cluster.TopicPartition{Topic: "t", Index: i})
	}
	if err := s.NotifyISR(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, term.Changes(), "a change"); got.Kind != cluster.ISRsChanged {
		t.Errorf("change %+v", got)
	}
	if err := s.append(t.Context(), isrNotification, []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	of, nodes, err := term.ISRNotifications(t.Context())
	if err != nil || !slices.Equal(of, want) || len(nodes) != 3 || nodes[0] != "isr_change_0000000000" {
		t.Errorf("%d partitions in %q, %v", len(of), nodes, err)
	}
	if err := term.RemoveISRNotifications(t.Context(), nodes); err != nil {
		t.Fatal(err)
	}
	if of, nodes, err := term.ISRNotifications(t.Context()); len(of)+len(nodes) > 0 || err != nil {
		t.Error(of, nodes, err)
	}

	if err := s.NotifyLogDirFailure(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	brokers, nodes, err := term.LogDirEvents(t.Context())
	if err != nil || !slices.Equal(brokers, []int32{7}) || len(nodes) != 1 {
		t.Errorf("brokers %v in %q, %v", brokers, nodes, err)
	}
	if err := term.RemoveLogDirEvents(t.Context(), append(nodes, "log_dir_event_0000000099")); err != nil {
		t.Error(err)
	}
}

// What older tools ask for by nodes is read, written and removed.
func testWanted(t *testing.T, address string) {
	s, term := elected(t, address)
	if of, err := term.WantedElections(t.Context()); len(of) > 0 || err != nil {
		t.Fatal(of, err)
	}
	if wanted, err := term.WantedReassignments(t.Context()); len(wanted) > 0 || err != nil {
		t.Fatal(wanted, err)
	}
	tp := cluster.TopicPartition{Topic: "t", Index: 1}
	if err := s.create(t.Context(), electionsPath, encodePartitions([]cluster.TopicPartition{tp})); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, term.Changes(), "a change"); got.Kind != cluster.ElectionsChanged {
		t.Errorf("change %+v", got)
	}
	if of, err := term.WantedElections(t.Context()); !slices.Equal(of, []cluster.TopicPartition{tp}) || err != nil {
		t.Error(of, err)
	}
	if err := term.RemoveWantedElections(t.Context()); err != nil {
		t.Error(err)
	}
	wantNode(t, s, electionsPath, "-")

	want := map[cluster.TopicPartition][]int32{tp: {2, 3}}
	for range 2 { // makes the node, and writes over it
		if err := term.SetWantedReassignments(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := term.WantedReassignments(t.Context())
	if err != nil || !maps.EqualFunc(got, want, slices.Equal[[]int32]) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for range 2 {
		if err := term.SetWantedReassignments(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	wantNode(t, s, reassignmentsPath, "-")
}

func TestNextProducerIDs(t *testing.T) {
	if got, want := string(encodeProducerIDs(1, 0)), `{"version":1,"broker":1,"block_start":"0","block_end":"999"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for text, want := range map[string]int64{
		``: 0,
		`{"version":1,"broker":1,"block_start":"0","block_end":"999"}`:                                     1000,
		`{"version":1,"broker":1,"block_start":"0","block_end":"-1"}`:                                      -1,
		`{"version":1,"broker":1,"block_start":"0","block_end":"` + strconv.Itoa(math.MaxInt64-999) + `"}`: -1,
		`{"version":1}`: -1,
	} {
		got, err := nextProducerIDs([]byte(text))
		if want < 0 {
			wantError(t, err, ErrMalformed)
		} else if got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
}

// Brokers that take blocks at one time, by themselves or by the controller, never get
// the same.
func testProducerIDs(t *testing.T, address string) {
	s, term := elected(t, address)
	var mu sync.Mutex
	taken := map[int64]bool{}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			take := term.NextProducerIDs
			if i%2 == 0 {
				take = s.NextProducerIDs
			}
			for range 3 {
				first, count, err := take(t.Context(), 1)
				if err != nil {
					wantError(t, err, cluster.ErrVersion) // too many at one time, and nothing taken
					continue
				}
				mu.Lock()
				if taken[first] || first%1000 != 0 || count != 1000 {
					t.Errorf("block of %d from %d", count, first)
				}
				taken[first] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(taken) == 0 {
		t.Error("nobody got a block")
	}
}

// An offset is decimal text; who watches it is told when another changes it.
func testConsumers(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	tp := cluster.TopicPartition{Topic: "t", Index: 3}
	w, changed := NewWatch()
	if _, ok, err := s.Offset(t.Context(), "g", tp, w); ok || err != nil {
		t.Fatal(ok, err)
	}
	other, _ := begin(t, config(address))
	for _, offset := range []int64{12, 13} {
		if err := other.SetOffset(t.Context(), "g", tp, offset); err != nil {
			t.Fatal(err)
		}
		if offset == 12 {
			// The directory was not there when it was looked for, and so nobody is told.
			if _, _, err := s.Offset(t.Context(), "g", tp, w); err != nil {
				t.Fatal(err)
			}
			continue
		}
		receive(t, changed, "the news of an offset")
	}
	wantNode(t, s, "/consumers/g/offsets/t/3", "13")
	if offset, ok, err := s.Offset(t.Context(), "g", tp, w); offset != 13 || !ok || err != nil {
		t.Error(offset, ok, err)
	}
	second := cluster.TopicPartition{Topic: "u", Index: 0}
	if err := s.SetOffset(t.Context(), "g", second, 5); err != nil {
		t.Fatal(err)
	}
	want := map[cluster.TopicPartition]int64{tp: 13, second: 5}
	if got, err := s.Offsets(t.Context(), "g", nil); !maps.Equal(got, want) || err != nil {
		t.Errorf("offsets %v, %v; want %v", got, err, want)
	}
	if got := must[[]string](t)(s.Groups(t.Context())); !slices.Equal(got, []string{"g"}) {
		t.Errorf("groups %q", got)
	}
	for _, group := range []string{"", "..", "a/b", "a\x00"} {
		wantError(t, s.SetOffset(t.Context(), group, tp, 1), ErrInvalidName)
	}
	if err := s.DeleteOffsets(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Offsets(t.Context(), "g", nil); len(got) != 0 || err != nil {
		t.Error(got, err)
	}
	if err := s.create(t.Context(), "/consumers/g/offsets/t/4", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Offset(t.Context(), "g", cluster.TopicPartition{Topic: "t", Index: 4}, nil)
	wantError(t, err, ErrMalformed)
}
