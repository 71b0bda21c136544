package partition

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"testing"
)

func someHistories() map[int64]*history {
	all := map[int64]*history{4: {epoch: 2}, 7: {epoch: 1}, 12: {epoch: 0}}
	for i := range int32(7) {
		all[7].add(1, mark{lastOffset: int64(10 + 5*i), timestamp: 1000, lastSequence: 4 + 5*i, offsetDelta: 4})
	}
	all[12].add(0, mark{lastOffset: 44, timestamp: -1, lastSequence: 1, offsetDelta: 2}) // wraps
	return all
}

func TestSnapshotRoundTrip(t *testing.T) {
	want := someHistories()
	got, err := decodeSnapshot(encodeSnapshot(want), 45)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
	if _, err := decodeSnapshot(encodeSnapshot(want), 44); !errors.Is(err, errSnapshot) {
		t.Errorf("an entry beyond the snapshot's offset: %v", err)
	}
}

// The bytes are those that Kafka writes for one producer with one batch: version,
// CRC-32C of what follows, count, and the fields in the order of
// ProducerStateManager's schema.
func TestSnapshotIsKafkas(t *testing.T) {
	h := &history{}
	h.add(3, mark{lastOffset: 41, timestamp: 1_700_000_000_123, lastSequence: 11, offsetDelta: 4})
	want := "0001" + "a3b38dc5" + "00000001" +
		"00000000000007d0" + "0003" + "0000000b" + "0000000000000029" + "00000004" + "0000018bcfe5687b" + "ffffffff" + "ffffffffffffffff"
	got := hex.EncodeToString(encodeSnapshot(map[int64]*history{2000: h}))
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if name := snapshotName(42); name != "00000000000000000042.snapshot" {
		t.Errorf("name %s", name)
	}
}

func TestParseSnapshotName(t *testing.T) {
	for name, want := range map[string]int64{
		"00000000000000000042.snapshot":     42,
		"09223372036854775807.snapshot":     math.MaxInt64,
		"09223372036854775808.snapshot":     -1,
		"-0000000000000000042.snapshot":     -1,
		"+0000000000000000042.snapshot":     -1,
		"42.snapshot":                       -1,
		"00000000000000000042.snapshot.tmp": -1,
		"00000000000000000042.log":          -1,
	} {
		got, ok := parseSnapshotName(name)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%s: %d, %v, want %d", name, got, ok, want)
		}
	}
}

// Whatever byte is another, or missing, it is seen.
func TestSnapshotDamage(t *testing.T) {
	whole := encodeSnapshot(someHistories())
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		for what, data := range map[string][]byte{"cut": whole[:i], "flipped": flipped} {
			if _, err := decodeSnapshot(data, 1000); !errors.Is(err, errSnapshot) {
				t.Errorf("%s at byte %d: %v", what, i, err)
			}
		}
	}
}

// FuzzSnapshot: whatever the bytes, reading returns; and what is read is written
// and read again as the same.
func FuzzSnapshot(f *testing.F) {
	f.Add(encodeSnapshot(nil), int64(0))
	f.Add(encodeSnapshot(someHistories()), int64(45))
	f.Fuzz(func(t *testing.T, data []byte, nextOffset int64) {
		if len(data) >= snapshotHeaderLen { // fuzzing does not guess checksums
			data = withChecksum(data)
		}
		got, err := decodeSnapshot(data, nextOffset)
		if err != nil {
			if !errors.Is(err, errSnapshot) {
				t.Errorf("error %v", err)
			}
			return
		}
		for id, h := range got {
			for _, m := range h.marks() {
				if id < 0 || m.baseOffset() < 0 || m.lastOffset >= nextOffset || m.firstSequence() < 0 {
					t.Errorf("producer %d: %+v before %d", id, m, nextOffset)
				}
			}
		}
		again, err := decodeSnapshot(encodeSnapshot(got), nextOffset)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("read again: %v, %v; want %v", again, err, got)
		}
	})
}

func withChecksum(data []byte) []byte {
	data = bytes.Clone(data)
	binary.BigEndian.PutUint16(data[atSnapshotVersion:], snapshotVersion)
	binary.BigEndian.PutUint32(data[atSnapshotCRC:], crc32.Checksum(data[atSnapshotCount:], castagnoli))
	return data
}
