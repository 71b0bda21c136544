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

// reading is a batch of n records as the tests use it.
func reading(n int) Batch {
	var bu Builder
	for i := range n {
		bu.Add(1000+int64(i), []byte("press3"), []byte{byte(i)}, []Header{{Key: "unit", Value: []byte("C")}})
	}
	return bu.Batch()
}

// altered returns a copy of b that alter changed, with its checksum and its
// length set right again. A test that wants them wrong sets them afterwards.
func altered(b Batch, alter func(b Batch) Batch) Batch {
	b = alter(slices.Clone(b))
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atLeaderEpoch))
	binary.BigEndian.PutUint32(b[atCRC:], b.checksum())
	return b
}

// put returns a change that writes v, big-endian, at a place of the header.
func put[T int8 | int16 | int32 | int64](at int, v T) func(Batch) Batch {
	return func(b Batch) Batch {
		binary.Encode(b[at:], binary.BigEndian, v)
		return b
	}
}

// with returns b with its header changed and its checksum as it was.
func with(b Batch, change func(Batch) Batch) []byte { return change(slices.Clone(b)) }

func TestNext(t *testing.T) {
	good := reading(3)
	for name, tc := range map[string]struct {
		in  []byte
		err error // nil: the batch is good and the rest is what follows it
	}{
		"one":                 {good, nil},
		"two":                 {slices.Concat(good, reading(1)), nil},
		"trailingBytes":       {slices.Concat(good, []byte("tail")), nil},
		"otherOffsetAndEpoch": {with(good, func(b Batch) Batch { b.Stamp(1<<40, 7); return b }), nil},
		"empty":               {nil, io.ErrUnexpectedEOF},
		"halfALength":         {good[:LengthPrefix-1], io.ErrUnexpectedEOF},
		"lengthAlone":         {good[:LengthPrefix], io.ErrUnexpectedEOF},
		"halfAHeader":         {good[:HeaderLen-1], io.ErrUnexpectedEOF},
		"headerAlone":         {good[:HeaderLen], io.ErrUnexpectedEOF},
		"oneByteShort":        {good[:len(good)-1], io.ErrUnexpectedEOF},
		"length-1":            {with(good, put(atLength, int32(-1))), ErrCorrupt},
		"length0":             {with(good, put(atLength, int32(0))), ErrCorrupt},
		"lengthBelowHeader":   {with(good, put(atLength, int32(HeaderLen-atLeaderEpoch-1))), ErrCorrupt},
		"length2GB":           {with(good, put(atLength, int32(math.MaxInt32))), io.ErrUnexpectedEOF},
		"lengthMin":           {with(good, put(atLength, int32(math.MinInt32))), ErrCorrupt},
		"magic0":              {with(good, put(atMagic, int8(0))), ErrOldFormat},
		"magic1":              {with(good, put(atMagic, int8(1))), ErrOldFormat},
		"magic3":              {with(good, put(atMagic, int8(3))), ErrCorrupt},
		"magic-1":             {with(good, put(atMagic, int8(-1))), ErrCorrupt},
		"wrongChecksum":       {with(good, put(atCRC, int32(1))), ErrCorrupt},
		"flippedBit":          {with(good, func(b Batch) Batch { b[len(b)-1] ^= 1; return b }), ErrCorrupt},
		"zeros":               {make([]byte, 200), ErrCorrupt},
		"zerosThenBatch":      {slices.Concat(make([]byte, 100), good), ErrCorrupt},
		"text":                {bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 10), ErrCorrupt},
		// 2 billion records are a lie that Validate finds; the bytes are a batch.
		"claims2Billion": {altered(good, put(atCount, int32(2_000_000_000))), nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, rest, err := Next(tc.in)
			switch {
			case !errors.Is(err, tc.err):
				t.Errorf("err %v, want %v", err, tc.err)
			case err != nil && (b != nil || !bytes.Equal(rest, tc.in)):
				t.Errorf("with an error: batch of %d bytes, rest of %d, want none and all %d", len(b), len(rest), len(tc.in))
			case err == nil && !bytes.Equal(slices.Concat(b, rest), tc.in):
				t.Errorf("batch of %d bytes and rest of %d are not the %d of the input", len(b), len(rest), len(tc.in))
			}
		})
	}
}

// Wherever a batch is cut, Next asks for more; it never takes less for a batch.
func TestNextCut(t *testing.T) {
	good := reading(3)
	for n := range len(good) {
		if _, _, err := Next(good[:n]); err != io.ErrUnexpectedEOF {
			t.Errorf("%d of %d bytes: err %v, want io.ErrUnexpectedEOF", n, len(good), err)
		}
	}
}

// The checksum covers every byte from the attributes on.
func TestChecksumCovers(t *testing.T) {
	good := reading(2)
	for at := range good {
		b := slices.Clone(good)
		b[at] ^= 0x40
		if err := b.Check(); (err != nil) != (at >= atCRC) {
			t.Errorf("byte %d changed: err %v", at, err)
		}
	}
}

// A batch that was split off cannot grow into the bytes behind it.
func TestNextLimitsCapacity(t *testing.T) {
	buf := slices.Concat(reading(1), reading(1))
	first, rest, err := Next(buf)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(first, 0xff)
	if !bytes.Equal(rest, reading(1)) {
		t.Error("an append to the first batch reached the second")
	}
}

// Split takes what Next takes, and what has a wrong checksum too.
func TestSplit(t *testing.T) {
	wrong := with(reading(1), put(atCRC, int32(1)))
	b, rest, err := Split(append(wrong, "tail"...))
	if err != nil || !bytes.Equal(b, wrong) || string(rest) != "tail" {
		t.Errorf("wrong checksum: batch of %d bytes, rest %q, err %v, want %d, \"tail\", nil", len(b), rest, err, len(wrong))
	}
	if _, _, err := Split(with(reading(1), put(atMagic, int8(1)))); err != ErrOldFormat {
		t.Errorf("magic 1: %v, want ErrOldFormat", err)
	}
}

func TestSize(t *testing.T) {
	for name, tc := range map[string]struct {
		in   []byte
		want int64
		err  error
	}{
		"batch":       {reading(1), int64(len(reading(1))), nil},
		"prefix":      {reading(1)[:LengthPrefix], int64(len(reading(1))), nil},
		"short":       {reading(1)[:LengthPrefix-1], 0, io.ErrUnexpectedEOF},
		"2GB":         {with(reading(1), put(atLength, int32(math.MaxInt32))), math.MaxInt32 + 12, nil},
		"-1":          {with(reading(1), put(atLength, int32(-1))), 0, ErrCorrupt},
		"belowHeader": {with(reading(1), put(atLength, int32(48))), 0, ErrCorrupt},
		"header":      {with(reading(1), put(atLength, int32(49))), HeaderLen, nil},
	} {
		if got, err := Size(tc.in); got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %d, %v, want %d, %v", name, got, err, tc.want, tc.err)
		}
	}
}

// A stamp changes the base offset and the leader epoch and nothing else.
func TestStamp(t *testing.T) {
	b := reading(5)
	before := slices.Clone(b)
	b.Stamp(1<<40, 12)
	if b.BaseOffset() != 1<<40 || b.LastOffset() != 1<<40+4 || b.NextOffset() != 1<<40+5 || b.LeaderEpoch() != 12 {
		t.Errorf("stamped: offsets %d to %d, next %d, epoch %d", b.BaseOffset(), b.LastOffset(), b.NextOffset(), b.LeaderEpoch())
	}
	if err := b.Check(); err != nil {
		t.Errorf("stamped: %v", err)
	}
	b.Stamp(before.BaseOffset(), before.LeaderEpoch())
	if !bytes.Equal(b, before) {
		t.Error("a stamp changed more than the base offset and the leader epoch")
	}
}

func TestAttributes(t *testing.T) {
	for _, tc := range []struct {
		attributes                       int16
		codec                            Codec
		appendTime, transaction, control bool
	}{
		{0x00, None, false, false, false},
		{0x01, Gzip, false, false, false},
		{0x0a, Snappy, true, false, false},
		{0x13, LZ4, false, true, false},
		{0x24, Zstd, false, false, true},
		{-1, 7, true, true, true},
	} {
		b := altered(reading(1), put(atAttributes, tc.attributes))
		if b.Codec() != tc.codec || b.LogAppendTime() != tc.appendTime || b.Transactional() != tc.transaction || b.Control() != tc.control {
			t.Errorf("attributes %#x: %v %v %v %v", tc.attributes, b.Codec(), b.LogAppendTime(), b.Transactional(), b.Control())
		}
	}
	for c, want := range map[Codec]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd", 5: "codec(5)", -1: "codec(-1)"} {
		if c.String() != want {
			t.Errorf("codec %d is called %q, want %q", int8(c), c, want)
		}
	}
}
