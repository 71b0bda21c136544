package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
)

// Next never panics; what it accepts plus what it leaves is the input; and what
// it accepts, it accepts again alone.
func FuzzNext(f *testing.F) {
	good := reading(3)
	f.Add([]byte{})
	f.Add([]byte(good))
	f.Add([]byte(slices.Concat(good, reading(1))))
	f.Add([]byte(good[:len(good)-1]))
	f.Add(with(good, put(atLength, int32(-1))))
	f.Add(with(good, put(atLength, int32(math.MaxInt32))))
	f.Add(with(good, put(atMagic, int8(1))))
	f.Add([]byte(altered(good, put(atCount, int32(2_000_000_000)))))
	f.Fuzz(func(t *testing.T, in []byte) {
		kept := bytes.Clone(in)
		fuzzNext(t, in)
		if len(in) > HeaderLen { // bytes that no checksum vouches for seldom get past it
			fuzzNext(t, altered(in, put(atMagic, int8(2))))
		}
		if !bytes.Equal(in, kept) {
			t.Error("the input was changed")
		}
	})
}

func fuzzNext(t *testing.T, in []byte) {
	b, rest, err := Next(in)
	if err != nil {
		if b != nil || !bytes.Equal(rest, in) {
			t.Errorf("with %v: batch of %d bytes, rest of %d of %d", err, len(b), len(rest), len(in))
		}
		if err != io.ErrUnexpectedEOF && err != ErrOldFormat && !errors.Is(err, ErrCorrupt) {
			t.Errorf("an error of no known kind: %v", err)
		}
		return
	}
	if !bytes.Equal(slices.Concat(b, rest), in) {
		t.Errorf("batch of %d bytes and rest of %d are not the input's %d", len(b), len(rest), len(in))
	}
	if again, left, err := Next(b); err != nil || len(left) != 0 || !bytes.Equal(again, b) {
		t.Errorf("alone: %d bytes left, err %v", len(left), err)
	}
	err = b.Validate()
	if err != nil && !errors.Is(err, ErrInvalid) {
		t.Errorf("Validate's error is of no known kind: %v", err)
	}
	if err == nil && b.Codec() == None {
		checkAccepted(t, b)
	}
}

// checkAccepted holds that a batch which Validate lets in is read to its end: no
// consumer stumbles over it.
func checkAccepted(t *testing.T, b Batch) {
	next := int32(0)
	err := Records(b.Payload(), b.Count(), func(r Record) bool {
		if r.OffsetDelta != next {
			t.Errorf("record %d has offset delta %d", next, r.OffsetDelta)
		}
		next++
		return true
	})
	if err != nil || next != b.Count() {
		t.Errorf("a valid batch of %d records: %d were read, err %v", b.Count(), next, err)
	}
}

// Records never panics, ends whatever count claims, never yields more than count,
// and yields slices of the payload.
func FuzzRecords(f *testing.F) {
	good := reading(3)
	f.Add(good.Payload(), int32(3))
	f.Add(good.Payload(), int32(2_000_000_000))
	f.Add(good.Payload(), int32(-1))
	for _, p := range [][]byte{smallest, keyPastEnd, valuePastEnd, twoHeaders, lessHeaders, headerNoKey, unusedBytes, emptyRecord, endlessKey, longVarint, farOffset} {
		f.Add(p, int32(1))
	}
	f.Fuzz(func(t *testing.T, payload []byte, count int32) {
		seen, taken := int32(0), 0
		err := Records(payload, count, func(r Record) bool {
			seen++
			taken += len(r.Key) + len(r.Value)
			for _, h := range r.Headers {
				taken += len(h.Key) + len(h.Value)
			}
			return true
		})
		switch {
		case seen > max(count, 0):
			t.Errorf("%d records of %d", seen, count)
		case taken > len(payload):
			t.Errorf("%d bytes of records out of %d", taken, len(payload))
		case err == nil && seen != max(count, 0):
			t.Errorf("%d records of %d and no error", seen, count)
		case err != nil && !errors.Is(err, ErrInvalid):
			t.Errorf("an error of no known kind: %v", err)
		}
	})
}

// What Builder was given, the parser gives back.
func FuzzBuilder(f *testing.F) {
	f.Add(int64(0), int64(0), []byte("press3"), []byte("21.5"), "unit", []byte("C"), uint8(3))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), []byte{}, []byte{}, "", []byte{}, uint8(0))
	f.Add(int64(math.MaxInt64), int64(-1), bytes.Repeat([]byte{0xff}, 200), []byte("v"), "\xff", []byte("x"), uint8(255))
	f.Fuzz(func(t *testing.T, firstTime, laterTime int64, key, value []byte, headerKey string, headerValue []byte, shape uint8) {
		headers := slices.Repeat([]Header{{Key: headerKey, Value: headerValue}}, int(shape>>2))
		if shape&1 != 0 {
			key = nil
		}
		if shape&2 != 0 {
			value = nil
		}
		var bu Builder
		bu.Add(firstTime, key, value, headers)
		bu.Add(laterTime, value, key, nil)
		b, rest, err := Next(bu.Batch())
		if err != nil || len(rest) != 0 || b.Validate() != nil {
			t.Fatalf("%d bytes left, err %v, invalid %v", len(rest), err, b.Validate())
		}
		got := collect(t, b)
		if !same(got[0].Key, key) || !same(got[0].Value, value) || !same(got[1].Key, value) || !same(got[1].Value, key) {
			t.Errorf("key %q and value %q came back as %+v", key, value, got)
		}
		if len(got[0].Headers) != len(headers) || len(got[1].Headers) != 0 {
			t.Errorf("%d and %d headers, want %d and 0", len(got[0].Headers), len(got[1].Headers), len(headers))
		}
		for _, h := range got[0].Headers {
			if h.Key != headerKey || !same(h.Value, headerValue) {
				t.Errorf("header %q: %q, want %q: %q", h.Key, h.Value, headerKey, headerValue)
			}
		}
		if first, later := b.BaseTimestamp()+got[0].TimestampDelta, b.BaseTimestamp()+got[1].TimestampDelta; first != firstTime || later != laterTime {
			t.Errorf("times %d and %d, want %d and %d", first, later, firstTime, laterTime)
		}
		if want := max(firstTime, laterTime); b.MaxTimestamp() != want {
			t.Errorf("latest time %d, want %d", b.MaxTimestamp(), want)
		}
	})
}

// same is bytes.Equal for which null and empty differ.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// A varint's length is what AppendVarint writes.
func TestVarintLen(t *testing.T) {
	for shift := range 64 {
		for _, v := range []int64{1<<shift - 1, 1 << shift, -(1 << shift), -(1 << shift) - 1} {
			if got, want := varintLen(v), len(binary.AppendVarint(nil, v)); got != want {
				t.Errorf("%d takes %d bytes, varintLen says %d", v, want, got)
			}
		}
	}
}
