package record

import (
	"errors"
	"slices"
	"testing"
)

func TestRecordsFrom(t *testing.T) {
	var bu Builder
	for i := range 4 {
		bu.Add(int64(i), []byte{byte(i)}, nil, []Header{{Key: "k"}})
	}
	b := bu.Batch()
	var kept []byte // without the third
	if err := b.Each(b.Payload(), func(r Record, raw []byte) error {
		if r.OffsetDelta != 2 {
			kept = append(kept, raw...)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b = b.With(None, kept, 3, 3)
	for from, want := range map[int32][]int32{-5: {0, 1, 3}, 0: {0, 1, 3}, 1: {1, 3}, 2: {3}, 3: {3}, 4: nil} {
		var got []int32
		err := RecordsFrom(b.Payload(), b.Count(), from, func(r Record) bool {
			got = append(got, r.OffsetDelta)
			if len(r.Headers) != 1 || r.Key[0] != byte(r.OffsetDelta) {
				t.Errorf("from %d: %+v", from, r)
			}
			return true
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("from %d: %v and error %v, want %v", from, got, err, want)
		}
	}
	taken := 0
	if err := RecordsFrom(b.Payload(), b.Count(), 1, func(Record) bool { taken++; return false }); err != nil || taken != 1 {
		t.Errorf("one was enough, and %d came, error %v", taken, err)
	}
	for name, payload := range map[string][]byte{"cut": kept[:len(kept)-1], "empty": nil, "noOffset": {2, 0, 2, 0, 2, 0}, "length": {0x7f}} {
		if err := RecordsFrom(payload, 3, 4, func(Record) bool { return true }); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v, want %v", name, err, ErrInvalid)
		}
	}
}
