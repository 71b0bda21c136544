package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headwater/headwater/broker/topic"
)

// memStore is a Store that fails, once, at the save it is told to.
type memStore struct {
	doc    []byte
	aside  []byte
	failAt int // the number of the save that fails, counted from 1; 0: none
	saves  int
	full   bool // every save fails for want of space
}

var errCut = errors.New("power cut")

func (m *memStore) Load() ([]byte, error) { return m.doc, nil }

func (m *memStore) Save(doc []byte) error {
	if m.saves++; m.saves == m.failAt {
		return errCut
	}
	if m.full {
		return fmt.Errorf("write: %w", syscall.ENOSPC)
	}
	m.doc = doc
	return nil
}

func (m *memStore) SetAside() error {
	m.aside, m.doc = m.doc, nil
	return nil
}

// memHost is a Host whose disk outlives the Solo over it.
type memHost struct {
	takes time.Duration // to open a partition

	mu        sync.Mutex // guards disk while partitions are opened
	disk      map[string]Hosted
	led       map[string]int32 // leader epoch by partition
	settings  map[string]topic.Settings
	lastEpoch int32
	failOpen  string // this partition cannot be opened
	failDel   string // nor this one deleted
}

func newMemHost() *memHost {
	return &memHost{disk: map[string]Hosted{}, led: map[string]int32{}, settings: map[string]topic.Settings{}, lastEpoch: -1}
}

func (h *memHost) Hosted() ([]Hosted, error) { return slices.Collect(maps.Values(h.disk)), nil }

func (h *memHost) Open(name string, index int32, id topic.ID, settings topic.Settings) (int32, error) {
	k := fmt.Sprintf("%s-%d", name, index)
	if k == h.failOpen {
		return -1, errCut
	}
	time.Sleep(h.takes)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.disk[k], h.settings[k] = Hosted{name, index, id}, settings
	return h.lastEpoch, nil
}

func (h *memHost) Configure(name string, index int32, settings topic.Settings) {
	h.settings[fmt.Sprintf("%s-%d", name, index)] = settings
}

func (h *memHost) Lead(name string, index, leaderEpoch int32) {
	h.led[fmt.Sprintf("%s-%d", name, index)] = leaderEpoch
}

func (h *memHost) Delete(name string, index int32) error {
	k := fmt.Sprintf("%s-%d", name, index)
	if k == h.failDel {
		return errCut
	}
	delete(h.disk, k)
	return nil
}

func startSolo(t *testing.T, store Store, host Host) *Solo {
	t.Helper()
	s := NewSolo(SoloConfig{
		ClusterID: "c", Self: Broker{ID: 1, Host: "box", Port: 9092}, Defaults: topic.Defaults(), DefaultPartitions: 2, MaxPartitions: 10,
	}, store, host, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func names(s *Snapshot) []string {
	out := []string{}
	for _, t := range s.Topics() {
		out = append(out, fmt.Sprintf("%s:%d", t.Name, len(t.Partitions)))
	}
	return out
}

// A start opens partitions at the same time, as many as it may and no more.
func TestSoloOpensAtTheSameTime(t *testing.T) {
	for name, tc := range map[string]struct {
		partitions int
		want       time.Duration
	}{
		"few":  {10, time.Second},
		"many": {100, 7 * time.Second}, // 16 at a time
	} {
		synctest.Test(t, func(t *testing.T) {
			state := soloState{Topics: []soloTopic{{Name: "press", ID: topic.NewID(), Partitions: int32(tc.partitions)}}}
			host := newMemHost()
			host.takes, host.lastEpoch = time.Second, 7
			s := NewSolo(SoloConfig{Defaults: topic.Defaults()}, &memStore{}, host, slog.New(slog.DiscardHandler))
			begin := time.Now()
			if epoch := s.openAll(&state); epoch != 7 {
				t.Errorf("%s: the latest epoch is %d, want 7", name, epoch)
			}
			if took := time.Since(begin); took != tc.want || len(host.disk) != tc.partitions {
				t.Errorf("%s: %d partitions opened in %v, want %d in %v", name, len(host.disk), took, tc.partitions, tc.want)
			}
		})
	}
}

// Topics, their ids and their settings are the same after a restart, in a new
// leader epoch.
func TestSoloRestart(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	s := startSolo(t, store, host)
	want, err := s.CreateTopic(t.Context(), NewTopic{Name: "press", Partitions: 3, ReplicationFactor: 1, Overrides: map[string]string{"retention.ms": "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	again := startSolo(t, store, host)
	got, ok := again.Snapshot().Topic("press")
	if !ok || got.ID != want.ID || !reflect.DeepEqual(got.Settings, want.Settings) || len(got.Partitions) != 3 {
		t.Fatalf("after a restart: %+v, want %+v", got, want)
	}
	if byID, ok := again.Snapshot().TopicByID(want.ID); !ok || byID != got {
		t.Errorf("topic by id: %+v, want %+v", byID, got)
	}
	before, after := want.Partitions[0].LeaderEpoch, got.Partitions[0].LeaderEpoch
	if after <= before || host.led["press-2"] != after {
		t.Errorf("leader epoch %d, and %d before; the partition leads in %d", after, before, host.led["press-2"])
	}
}

// What is asked for and cannot be is refused with its reason, and changes nothing.
func TestSoloRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		nt   NewTopic
		want error
	}{
		"badName":             {NewTopic{Name: "a/b", Partitions: 1, ReplicationFactor: 1}, topic.ErrInvalidName},
		"exists":              {NewTopic{Name: "there", Partitions: 1, ReplicationFactor: 1}, ErrTopicExists},
		"noPartitions":        {NewTopic{Name: "x", Partitions: 0, ReplicationFactor: 1}, ErrInvalidPartitions},
		"tooMany":             {NewTopic{Name: "x", Partitions: 9, ReplicationFactor: 1}, ErrTooManyPartitions},
		"farTooMany":          {NewTopic{Name: "x", Partitions: 1<<31 - 1, ReplicationFactor: 1}, ErrTooManyPartitions},
		"replicated":          {NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 3}, ErrInvalidReplicationFactor},
		"assignedElsewhere":   {NewTopic{Name: "x", Assignment: map[int32][]int32{0: {2}}}, ErrInvalidAssignment},
		"assignedWithGap":     {NewTopic{Name: "x", Assignment: map[int32][]int32{1: {1}}}, ErrInvalidAssignment},
		"unknownSetting":      {NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 1, Overrides: map[string]string{"colour": "red"}}, topic.ErrInvalidSetting},
		"settingOutOfRange":   {NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 1, Overrides: map[string]string{"segment.bytes": "3"}}, topic.ErrInvalidSetting},
		"settingThatIsNoMore": {NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 1, Overrides: map[string]string{"compression.type": "gzip"}}, topic.ErrInvalidSetting},
	} {
		t.Run(name, func(t *testing.T) {
			host := newMemHost()
			s := startSolo(t, &memStore{}, host)
			if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "there", Partitions: -1, ReplicationFactor: -1}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.CreateTopic(t.Context(), tc.nt); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if got, want := names(s.Snapshot()), []string{"there:2"}; !slices.Equal(got, want) || len(host.disk) != 2 {
				t.Errorf("topics %v and %d partitions on disk, want %v and 2", got, len(host.disk), want)
			}
		})
	}
}

// Devices may cause only so many topics, also over restarts. Others do not count,
// and one that is deleted makes room.
func TestSoloBoundsDeviceTopics(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	start := func() *Solo {
		s := NewSolo(SoloConfig{Defaults: topic.Defaults(), DefaultPartitions: 1, MaxPartitions: 100, MaxDeviceTopics: 2}, store, host, slog.New(slog.DiscardHandler))
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	create := func(s *Solo, name string, device bool) error {
		_, err := s.CreateTopic(t.Context(), NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1, ForDevice: device})
		return err
	}
	s := start()
	if err := errors.Join(create(s, "a", false), create(s, "b", false), create(s, "c", false), create(s, "d1", true), create(s, "d2", true)); err != nil {
		t.Fatal(err)
	}
	if err := s.CreatePartitions(t.Context(), NewPartitions{Topic: "d1", Count: 2}); err != nil { // which keeps what it is
		t.Fatal(err)
	}
	for range 2 {
		if err := create(s, "d3", true); !errors.Is(err, ErrTooManyDeviceTopics) {
			t.Errorf("one too many: %v, want %v", err, ErrTooManyDeviceTopics)
		}
		s = start()
	}
	if err := create(s, "e", false); err != nil {
		t.Errorf("one that no device caused: %v", err)
	}
	if err := errors.Join(s.DeleteTopic(t.Context(), "d1"), create(s, "d3", true)); err != nil {
		t.Errorf("after one is deleted: %v", err)
	}
	if err := create(s, "d4", true); !errors.Is(err, ErrTooManyDeviceTopics) {
		t.Errorf("one too many again: %v, want %v", err, ErrTooManyDeviceTopics)
	}
}

func TestSoloValidateOnly(t *testing.T) {
	host := newMemHost()
	s := startSolo(t, &memStore{}, host)
	got, err := s.CreateTopic(t.Context(), NewTopic{Name: "x", Assignment: map[int32][]int32{0: {1}}, ValidateOnly: true})
	if err != nil || len(got.Partitions) != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if len(host.disk) != 0 || s.Snapshot().Partitions() != 0 {
		t.Errorf("a dry run made %v", host.disk)
	}
}

// Wherever a change is cut off, the next start shows the topic whole or not at
// all, and nothing of a topic that is gone stays on disk.
func TestSoloCutOff(t *testing.T) {
	change := map[string]func(ctx context.Context, s *Solo){
		"create": func(ctx context.Context, s *Solo) {
			s.CreateTopic(ctx, NewTopic{Name: "new", Partitions: 2, ReplicationFactor: 1})
		},
		"delete": func(ctx context.Context, s *Solo) { s.DeleteTopic(ctx, "old") },
	}
	for name, change := range change {
		for at := range 4 {
			for _, broken := range []string{"", "new-1", "old-1"} {
				t.Run(fmt.Sprintf("%s save %d broken %s", name, at, broken), func(t *testing.T) {
					store, host := &memStore{}, newMemHost()
					s := startSolo(t, store, host)
					if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "old", Partitions: 2, ReplicationFactor: 1}); err != nil {
						t.Fatal(err)
					}
					store.saves, store.failAt = 0, at
					host.failOpen, host.failDel = broken, broken
					change(t.Context(), s)

					host.failOpen, host.failDel, store.failAt = "", "", 0
					after := startSolo(t, store, host).Snapshot()
					for _, topic := range after.Topics() {
						if len(topic.Partitions) != 2 {
							t.Errorf("%s came back with %d partitions, want 2", topic.Name, len(topic.Partitions))
						}
					}
					if strings.Contains(string(store.doc), "deleting") {
						t.Errorf("the list still has something to delete: %s", store.doc)
					}
					if len(host.disk) != after.Partitions() {
						t.Errorf("topics %v, on disk %v", names(after), host.disk)
					}
				})
			}
		}
	}
}

// A damaged list of topics costs settings, never a partition; the epoch goes on
// from what the logs hold.
func TestSoloDamagedList(t *testing.T) {
	for name, doc := range map[string]string{
		"noJSON":  "{\"version\":1,",
		"zeroes":  "\x00\x00\x00\x00",
		"badName": `{"version":1,"topics":[{"name":"a/b","id":"AAAAAAAAAAAAAAAAAAAAAA","partitions":1}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			store, host := &memStore{}, newMemHost()
			s := startSolo(t, store, host)
			if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "press", Partitions: 3, ReplicationFactor: 1}); err != nil {
				t.Fatal(err)
			}
			store.doc, host.lastEpoch = []byte(doc), 7
			after := startSolo(t, store, host).Snapshot()
			if got, want := names(after), []string{"press:3"}; !slices.Equal(got, want) {
				t.Errorf("topics %v, want %v", got, want)
			}
			if string(store.aside) != doc {
				t.Errorf("set aside %q, want %q", store.aside, doc)
			}
			if topic, ok := after.Topic("press"); ok && topic.Partitions[0].LeaderEpoch != 8 {
				t.Errorf("leader epoch %d, want 8", topic.Partitions[0].LeaderEpoch)
			}
		})
	}
}

// A list that a later headwater wrote is not touched.
func TestSoloLaterVersion(t *testing.T) {
	store := &memStore{doc: []byte(`{"version":99}`)}
	s := NewSolo(SoloConfig{}, store, newMemHost(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err := s.Start(); err == nil || store.aside != nil || string(store.doc) != `{"version":99}` {
		t.Errorf("start: %v; the list is now %q", err, store.doc)
	}
}

// A partition that does not open is offline; its topic and the others serve.
func TestSoloOpenFails(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	s := startSolo(t, store, host)
	if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "press", Partitions: 2, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	host.failOpen = "press-0"
	if got, want := names(startSolo(t, store, host).Snapshot()), []string{"press:2"}; !slices.Equal(got, want) {
		t.Errorf("topics %v, want %v", got, want)
	}
}

// A deletion that is done leaves nothing behind in the list, which would grow.
func TestSoloDelete(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	s := startSolo(t, store, host)
	if _, err := s.CreateTopic(t.Context(), NewTopic{Name: "old", Partitions: 2, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteTopic(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(store.doc), "deleting") || len(host.disk) != 0 || len(names(s.Snapshot())) != 0 {
		t.Errorf("after the deletion: topics %v, on disk %v, list %s", names(s.Snapshot()), host.disk, store.doc)
	}
}

func TestSoloDeleteUnknown(t *testing.T) {
	if err := startSolo(t, &memStore{}, newMemHost()).DeleteTopic(t.Context(), "x"); !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("got %v, want %v", err, ErrUnknownTopic)
	}
}

// A box starts on a disk that is too full for the list of topics, and leads all it
// has in a later epoch than before.
func TestSoloStartsOnFullDisk(t *testing.T) {
	store, host := &memStore{}, newMemHost()
	before := startSolo(t, store, host)
	if _, err := before.CreateTopic(t.Context(), NewTopic{Name: "press", Partitions: 1, ReplicationFactor: 1}); err != nil {
		t.Fatal(err)
	}
	was := host.led["press-0"]
	store.full = true
	after := startSolo(t, store, host)
	if got := names(after.Snapshot()); len(got) != 1 || host.led["press-0"] <= was {
		t.Errorf("topics %v, led in epoch %d after %d", got, host.led["press-0"], was)
	}
	if _, err := after.CreateTopic(t.Context(), NewTopic{Name: "more", Partitions: 1, ReplicationFactor: 1}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a topic on a full disk: %v, want ENOSPC", err)
	}
}
