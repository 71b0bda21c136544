package group

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/record"
)

// loadedFrom has a loader take records in, as those of a partition.
func loadedFrom(t *testing.T, records []entry) *loader {
	t.Helper()
	l := &loader{groups: map[string]*group{}, limits: limits{3 * time.Second, 1000, 0}}
	var bu record.Builder
	for _, r := range records {
		bu.Add(1, r.key, r.value, nil)
	}
	if b := bu.Batch(); b != nil {
		l.batch(b, time.Now())
	}
	return l
}

// The bytes are Kafka's: written here by hand, after the message definitions
// OffsetCommitKey, OffsetCommitValue, GroupMetadataKey and GroupMetadataValue of
// Kafka 3.9.
func TestRecordsAreKafkas(t *testing.T) {
	bytesOf := func(parts ...string) string {
		b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	offset := Offset{TopicPartition: TopicPartition{"press", 7}, Offset: 258, LeaderEpoch: 3, Metadata: "note"}
	got := offsetRecord("readers", &offset, 1000)
	if want := bytesOf("0001 0007", hex.EncodeToString([]byte("readers")), "0005", hex.EncodeToString([]byte("press")), "00000007"); string(got.key) != want {
		t.Errorf("key of an offset: %x, want %x", got.key, want)
	}
	if want := bytesOf("0003 0000000000000102 00000003 0004", hex.EncodeToString([]byte("note")), "00000000000003e8"); string(got.value) != want {
		t.Errorf("offset: %x, want %x", got.value, want)
	}
	offset.Retention = time.Second
	if want := bytesOf("0001 0000000000000102 0004", hex.EncodeToString([]byte("note")), "00000000000003e8 00000000000007d0"); string(offsetRecord("readers", &offset, 1000).value) != want {
		t.Errorf("offset that expires: not %x", want)
	}

	s := stable(t, "static1")
	s.since.wall = 1000
	got = s.metadataRecord((*member).assigned)
	if want := bytesOf("0002 0007", hex.EncodeToString([]byte("readers"))); string(got.key) != want {
		t.Errorf("key of a group: %x, want %x", got.key, want)
	}
	want := bytesOf("0003 0008", hex.EncodeToString([]byte("consumer")), "00000001",
		"0005", hex.EncodeToString([]byte("range")), "0007", hex.EncodeToString([]byte("static1")), "00000000000003e8",
		"00000001", // members
		"0007", hex.EncodeToString([]byte("static1")), "0007", hex.EncodeToString([]byte("static1")),
		"0006", hex.EncodeToString([]byte("client")), "0009", hex.EncodeToString([]byte("/10.0.0.1")),
		"0000ea60 00002710", "00000011", hex.EncodeToString(reads("press")), "0000000f", hex.EncodeToString([]byte("part of static1")))
	if string(got.value) != want {
		t.Errorf("group: %x, want %x", got.value, want)
	}
}

// After a restart a group is where it was: same generation, members, parts and
// offsets, and its members go on with their heartbeats.
func TestRestored(t *testing.T) {
	s := stable(t, "a", "static1")
	s.commits("a", 1, at(0, 5), at(1, 6))
	s.commits("a", 1, at(0, 9))
	s.store()
	l := loadedFrom(t, s.stored)
	g := l.groups["readers"]
	if g == nil || l.skipped > 0 {
		t.Fatalf("groups %v, %d records skipped: %v", l.groups, l.skipped, l.firstSkipped)
	}
	if !reflect.DeepEqual(g.all(), s.all()) {
		t.Errorf("offsets %+v, want %+v", g.all(), s.all())
	}
	if !reflect.DeepEqual(g.describe(), s.describe()) {
		t.Errorf("group %+v, want %+v", g.describe(), s.describe())
	}
	if g.leader != s.leader || g.generation != 1 || g.since.wall != s.stampOfStore() || g.bytes != s.bytes {
		t.Errorf("leader %q of generation %d since %d, %d bytes", g.leader, g.generation, g.since.wall, g.bytes)
	}
	now := time.Now()
	want(t, "heartbeat", g.heartbeat(now, &HeartbeatRequest{MemberID: "static1", InstanceID: "static1", Generation: 1}), nil)
	if due := g.due(); due.Before(now.Add(session / 2)) {
		t.Errorf("something is due at once, in %v", due.Sub(now))
	}

	s.leave(s.now, []LeavingMember{{MemberID: "a"}, {MemberID: "static1"}})
	s.store()
	g = loadedFrom(t, s.stored).groups["readers"]
	if g.state != Empty || g.generation != 2 || len(g.offsets) != 2 || g.protocolType != "consumer" {
		t.Errorf("empty group: %v at generation %d, %d offsets, %q", g.state, g.generation, len(g.offsets), g.protocolType)
	}
}

// stampOfStore is when the group entered the state in which it was stored.
func (s *sim) stampOfStore() int64 {
	for _, r := range slices.Backward(s.stored) {
		if said, err := parse(r.key, r.value); err == nil && said.metadata != nil {
			return said.metadata.CurrentStateTimestamp
		}
	}
	return -1
}

// A group that was loaded with more members than it may have is rebalanced.
func TestRestoredTooLarge(t *testing.T) {
	s := stable(t, "a", "b")
	l := loader{groups: map[string]*group{}, limits: limits{0, 1, 0}}
	for i, r := range s.stored {
		said, err := parse(r.key, r.value)
		if err != nil {
			t.Fatal(err)
		}
		l.apply(said, int64(i), s.now)
	}
	if got := l.groups["readers"].state; got != PreparingRebalance {
		t.Errorf("state %v, want %v", got, PreparingRebalance)
	}
}

// What cannot be understood is left out, and counted; what stands before it and
// behind it counts.
func TestLoadLeavesOut(t *testing.T) {
	o := at(0, 5)
	good := offsetRecord("readers", &o, 1000)
	later := at(1, 6)
	v4 := kmsg.OffsetCommitValue{Version: 4, Offset: 6}
	flexible := entry{offsetKey("readers", later.TopicPartition), v4.AppendTo(nil)}
	l := loadedFrom(t, []entry{
		good,
		{nil, []byte("x")},
		{[]byte{0}, nil},
		{[]byte{0, 9, 0, 0}, []byte("of a later Kafka")},
		{good.key[:len(good.key)-1], good.value},
		{good.key, good.value[:9]},
		{good.key, []byte{}},
		flexible,
		{groupKey("readers"), []byte{0, 3, 0}},
		{groupKey("readers"), append([]byte{0, 3, 0, 1, 'c', 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff)},
		offsetRecord("others", &o, 1000),
	})
	if l.records != 11 || l.skipped != 9 || !errors.Is(l.firstSkipped, errUnknownRecord) {
		t.Errorf("%d records, %d skipped, first because of: %v", l.records, l.skipped, l.firstSkipped)
	}
	if got := l.groups["readers"].all(); len(got) != 1 || got[0] != o || l.groups["others"] == nil {
		t.Errorf("loaded %+v", got)
	}
}

// Records of before Kafka 2.1 are read.
func TestLoadOldVersions(t *testing.T) {
	key := offsetKey("readers", TopicPartition{"press", 0})
	for version, value := range map[string]string{
		"0": "0000 0000000000000005 0001 6d 00000000000003e8",
		"1": "0001 0000000000000005 0001 6d 00000000000003e8 00000000000007d0",
		"2": "0002 0000000000000005 0001 6d 00000000000003e8",
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(value, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		said, err := parse(key, b)
		if err != nil || said.offset.Offset != 5 || said.offset.Metadata != "m" || said.offset.LeaderEpoch != -1 || said.committed != 1000 {
			t.Errorf("version %s: %+v, %v", version, said.offset, err)
		}
		if expires := said.offset.Retention == time.Second; expires != (version == "1") {
			t.Errorf("version %s: retention %v", version, said.offset.Retention)
		}
	}
}

// Wherever the log is cut off, what is loaded is what had been acknowledged by
// then, whatever was done.
func TestLoadIsWhatWasStored(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := newSim(t)
		after := map[int][]Offset{} // by number of stored records
		for len(s.stored) < 60 {
			switch rng.IntN(6) {
			case 0:
				s.deleteOffsets([]TopicPartition{{"press", int32(rng.IntN(4))}}, func([]error, error) {})
			case 1:
				s.commits("", -1, at(int32(rng.IntN(4)), rng.Int64N(100)), at(int32(rng.IntN(4)), rng.Int64N(100)))
			default:
				s.commits("", -1, at(int32(rng.IntN(4)), rng.Int64N(100)))
			}
			if rng.IntN(2) == 0 {
				s.store()
				after[len(s.stored)] = s.all()
			}
		}
		for n, want := range after {
			var got []Offset
			if g := loadedFrom(t, s.stored[:n]).groups["readers"]; g != nil {
				got = g.all()
			}
			if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d, %d records: loaded %+v, want %+v", seed, n, got, want)
			}
		}
	}
}

// FuzzParse: whatever the bytes, parse returns and does not panic, and what it
// makes of them can be made a group.
func FuzzParse(f *testing.F) {
	o := at(0, 5)
	r := offsetRecord("readers", &o, 1000)
	f.Add(r.key, r.value)
	f.Add(groupKey("readers"), []byte{0, 3, 0, 1, 'c', 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		said, err := parse(key, value)
		if err != nil {
			if !errors.Is(err, errUnknownRecord) {
				t.Errorf("error %v, want errUnknownRecord", err)
			}
			return
		}
		l := loader{groups: map[string]*group{}, limits: limits{time.Second, 10, 0}}
		l.apply(said, 1, time.Now())
		for _, g := range l.groups {
			g.metadataRecord((*member).assigned)
			g.all()
			g.subscribed()
		}
	})
}
