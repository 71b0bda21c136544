package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func withPress(t *testing.T, store Store, host Host) *Solo {
	t.Helper()
	s := startSolo(t, store, host)
	if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "press", Partitions: 2, ReplicationFactor: 1, Overrides: map[string]string{"retention.ms": "5000"}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// New partitions lead in the epoch of the others, with the topic's settings, and
// are there after a restart.
func TestSoloCreatePartitions(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	s := withPress(t, store, host)
	before, _ := s.Snapshot().Topic("press")
	if err := s.CreatePartitions(t.Context(), NewPartitions{Topic: "press", Count: 4, Assignment: [][]int32{{1}, {1}}}); err != nil {
		t.Fatal(err)
	}
	after, _ := s.Snapshot().Topic("press")
	if len(before.Partitions) != 2 || len(after.Partitions) != 4 || after.ID != before.ID {
		t.Errorf("%+v, and before %+v", after, before)
	}
	if host.led["press-3"] != after.Partitions[3].LeaderEpoch || host.disk["press-3"].ID != after.ID || host.settings["press-3"] != after.Settings {
		t.Errorf("the new partition: led in %d, %+v with %+v; the topic is %+v", host.led["press-3"], host.disk["press-3"], host.settings["press-3"], after)
	}
	if got, want := names(startSolo(t, store, host).Snapshot()), []string{"press:4"}; !slices.Equal(got, want) {
		t.Errorf("after a restart %v, want %v", got, want)
	}
}

func TestSoloCreatePartitionsRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		p    NewPartitions
		want error
	}{
		"unknown":       {NewPartitions{Topic: "none", Count: 4}, ErrUnknownTopic},
		"fewer":         {NewPartitions{Topic: "press", Count: 1}, ErrInvalidPartitions},
		"same":          {NewPartitions{Topic: "press", Count: 2}, ErrInvalidPartitions},
		"negative":      {NewPartitions{Topic: "press", Count: -1}, ErrInvalidPartitions},
		"tooMany":       {NewPartitions{Topic: "press", Count: 10}, ErrTooManyPartitions}, // with the 1 of __consumer_offsets
		"farTooMany":    {NewPartitions{Topic: "press", Count: 1<<31 - 1}, ErrTooManyPartitions},
		"assignedShort": {NewPartitions{Topic: "press", Count: 4, Assignment: [][]int32{{1}}}, ErrInvalidAssignment},
		"assignedNone":  {NewPartitions{Topic: "press", Count: 4, Assignment: [][]int32{}}, ErrInvalidAssignment},
		"elsewhere":     {NewPartitions{Topic: "press", Count: 3, Assignment: [][]int32{{2}}}, ErrInvalidAssignment},
		"twice":         {NewPartitions{Topic: "press", Count: 3, Assignment: [][]int32{{1, 1}}}, ErrInvalidAssignment},
		"internal":      {NewPartitions{Topic: "__consumer_offsets", Count: 2}, ErrInternalTopic},
		"dryRun":        {NewPartitions{Topic: "press", Count: 3, ValidateOnly: true}, nil},
		"dryRunRefused": {NewPartitions{Topic: "press", Count: 1, ValidateOnly: true}, ErrInvalidPartitions},
	} {
		t.Run(name, func(t *testing.T) {
			store, host := &memStore{}, newMemHost()
			s := withPress(t, store, host)
			if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "__consumer_offsets", Partitions: 1, ReplicationFactor: 1}); err != nil {
				t.Fatal(err)
			}
			saves := store.saves
			if err := s.CreatePartitions(t.Context(), tc.p); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if got, want := names(s.Snapshot()), []string{"__consumer_offsets:1", "press:2"}; !slices.Equal(got, want) || len(host.disk) != 3 || store.saves != saves {
				t.Errorf("topics %v, %d partitions on disk, %d saves; want %v, 3, none", got, len(host.disk), store.saves-saves, want)
			}
		})
	}
}

// Wherever it is cut off, the topic has its old partitions, or those and all the
// new ones; what was said to be done is; and what is on disk is on the list.
func TestSoloCreatePartitionsCutOff(t *testing.T) {
	for at := range 4 {
		for _, broken := range []string{"", "press-2", "press-3"} {
			for _, stuck := range []string{"", "press-2", "press-3"} {
				t.Run(fmt.Sprintf("save %d broken %s stuck %s", at, broken, stuck), func(t *testing.T) {
					store, host := &memStore{}, newMemHost()
					s := withPress(t, store, host)
					store.saves, store.failAt = 0, at
					host.failOpen, host.failDel = broken, stuck
					err := s.CreatePartitions(t.Context(), NewPartitions{Topic: "press", Count: 4})
					if failed := at == 1 || broken != ""; (err != nil) != failed {
						t.Errorf("got %v, want an error %v", err, failed)
					}
					shown := names(s.Snapshot())[0]
					if want := map[bool]string{true: "press:4", false: "press:2"}[err == nil]; shown != want {
						t.Errorf("then %s, want %s", shown, want)
					}

					host.failOpen, host.failDel, store.failAt = "", "", 0
					after := startSolo(t, store, host).Snapshot()
					got := names(after)[0]
					if got != "press:2" && got != "press:3" && got != "press:4" || err == nil && got != "press:4" {
						t.Errorf("after a restart %s", got)
					}
					if got == "press:3" && stuck != "press-2" {
						t.Errorf("after a restart %s, though nothing was stuck on disk", got)
					}
					if len(host.disk) != after.Partitions() {
						t.Errorf("topics %v, on disk %v", names(after), host.disk)
					}
				})
			}
		}
	}
}

// A box alone leads what it has, and moves nothing.
func TestSoloElectsAndReassigns(t *testing.T) {
	s := withPress(t, &memStore{}, newMemHost())
	for name, tc := range map[string]struct {
		topic    string
		index    int32
		replicas []int32
		elect    error
		reassign error
	}{
		"here":             {"press", 1, []int32{1}, ErrElectionNotNeeded, nil},
		"cancel":           {"press", 1, nil, ErrElectionNotNeeded, ErrNoReassignment},
		"elsewhere":        {"press", 1, []int32{2}, ErrElectionNotNeeded, ErrInvalidAssignment},
		"nowhere":          {"press", 1, []int32{}, ErrElectionNotNeeded, ErrInvalidAssignment},
		"unknownTopic":     {"none", 0, []int32{1}, ErrUnknownTopic, ErrUnknownTopic},
		"unknownPartition": {"press", 2, []int32{1}, ErrUnknownPartition, ErrUnknownPartition},
		"negative":         {"press", -1, []int32{1}, ErrUnknownPartition, ErrUnknownPartition},
	} {
		if err := s.ElectLeader(t.Context(), tc.topic, tc.index, false); !errors.Is(err, tc.elect) {
			t.Errorf("%s: elect: %v, want %v", name, err, tc.elect)
		}
		if err := s.Reassign(t.Context(), tc.topic, tc.index, tc.replicas); !errors.Is(err, tc.reassign) {
			t.Errorf("%s: reassign: %v, want %v", name, err, tc.reassign)
		}
	}
}

// Partitions that could not be created leave the topic as it was, also to the next
// change; and can be created once what was wrong is put right.
func TestSoloCreatePartitionsAgain(t *testing.T) {
	for at := range 3 { // the save that fails: none, the first, the one that takes back
		for _, stuck := range []string{"", "press-2"} {
			store, host := &memStore{}, newMemHost()
			s := withPress(t, store, host)
			store.saves, store.failAt = 0, at
			host.failOpen, host.failDel = "press-3", stuck
			if err := s.CreatePartitions(t.Context(), NewPartitions{Topic: "press", Count: 4}); err == nil {
				t.Fatalf("save %d fails, stuck %q: no error", at, stuck)
			}
			host.failOpen, host.failDel = "", ""
			if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "other", Partitions: 1, ReplicationFactor: 1}); err != nil {
				t.Fatal(err)
			}
			if got, want := names(s.Snapshot()), []string{"other:1", "press:2"}; !slices.Equal(got, want) {
				t.Errorf("save %d fails, stuck %q: after the next change %v, want %v", at, stuck, got, want)
			}
			if err := s.CreatePartitions(t.Context(), NewPartitions{Topic: "press", Count: 4}); err != nil {
				t.Errorf("save %d fails, stuck %q: again: %v", at, stuck, err)
			}
			if got := names(startSolo(t, store, host).Snapshot()); got[1] != "press:4" || host.led["press-3"] == 0 {
				t.Errorf("save %d fails, stuck %q: in the end %v", at, stuck, got)
			}
		}
	}
}
