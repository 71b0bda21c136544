package record

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// cut returns a change that keeps less of the batch's end.
func cut(n int) func(Batch) Batch { return func(b Batch) Batch { return b[:len(b)-n] } }

// payload returns a change that replaces the records.
func payload(p ...byte) func(Batch) Batch {
	return func(b Batch) Batch { return append(b[:HeaderLen:HeaderLen], p...) }
}

// count returns a change that claims n records, the last one's offset with them.
func count(n int32) func(Batch) Batch {
	return func(b Batch) Batch { return put(atLastOffsetDelta, n-1)(put(atCount, n)(b)) }
}

func both(first, second func(Batch) Batch) func(Batch) Batch {
	return func(b Batch) Batch { return second(first(b)) }
}

// The smallest record, and ways to get one wrong. A varint n stands as 2n, a
// null as 1.
var (
	smallest     = []byte{12, 0, 0, 0, 1, 1, 0}
	keyPastEnd   = []byte{12, 0, 0, 0, 2, 1, 0}
	valuePastEnd = []byte{12, 0, 0, 0, 1, 8, 0}
	twoHeaders   = []byte{12, 0, 0, 0, 1, 1, 4}
	manyHeaders  = []byte{20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f}
	lessHeaders  = []byte{12, 0, 0, 0, 1, 1, 1}
	headerNoKey  = []byte{16, 0, 0, 0, 1, 1, 2, 1, 1}
	unusedBytes  = []byte{14, 0, 0, 0, 1, 1, 0, 9}
	emptyRecord  = []byte{0, 0, 0, 0, 1, 1, 0}
	endlessKey   = []byte{24, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	longVarint   = []byte{22, 0, 0, 0, 0x81, 0x80, 0x80, 0x80, 0x80, 0x00, 1, 0} // -1 in 6 bytes, Kafka reads 5
	longLength   = []byte{0x8c, 0x80, 0x80, 0x80, 0x80, 0x00, 0, 0, 0, 1, 1, 0}
	farOffset    = append(append([]byte{20, 0, 0}, binary.AppendVarint(nil, 1<<32)...), 1, 1, 0)
)

func TestValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(Batch) Batch
		want   string // a part of the complaint; "" for none
	}{
		"good":                 {func(b Batch) Batch { return b }, ""},
		"smallestRecord":       {both(payload(smallest...), count(1)), ""},
		"claims2Billion":       {count(2_000_000_000), "2000000000 records cannot be in"},
		"claimsMax":            {count(math.MaxInt32), "2147483647 records cannot be in"},
		"claimsOneMore":        {count(4), "record 3: "},
		"claimsOneLess":        {count(2), "bytes follow the last record"},
		"noRecords":            {count(0), "0 records"},
		"count-1":              {put(atCount, int32(-1)), "-1 records"},
		"countMin":             {put(atCount, int32(math.MinInt32)), "-2147483648 records"},
		"lastOffsetDelta":      {put(atLastOffsetDelta, int32(3)), "end at offset delta 3"},
		"lastOffsetDelta-1":    {put(atLastOffsetDelta, int32(-1)), "end at offset delta -1"},
		"control":              {put(atAttributes, int16(0x20)), "control batch"},
		"codec5":               {put(atAttributes, int16(5)), "unknown compression 5"},
		"codec7":               {put(atAttributes, int16(7)), "unknown compression 7"},
		"shortRecord":          {cut(1), "record 2: "},
		"trailingByte":         {func(b Batch) Batch { return append(b, 0) }, "1 bytes follow the last record"},
		"noPayload":            {both(payload(), count(1)), "1 records cannot be in 0 bytes"},
		"offsetsFromOne":       {both(payload(12, 0, 0, 2, 1, 1, 0), count(1)), "record 0 has offset delta 1"},
		"offsetPast32Bits":     {both(payload(farOffset...), count(1)), "record 0"},
		"recordLength-1":       {both(payload(1, 0, 0, 0, 1, 1, 0), count(1)), "record 0: "},
		"recordLengthTooLong":  {both(payload(14, 0, 0, 0, 1, 1, 0), count(1)), "record 0: "},
		"recordLength0":        {both(payload(emptyRecord...), count(1)), "record 0: "},
		"recordLengthLong":     {both(payload(longLength...), count(1)), "record 0: "},
		"keyPastEnd":           {both(payload(keyPastEnd...), count(1)), "record 0: "},
		"keyEndless":           {both(payload(endlessKey...), count(1)), "record 0: "},
		"keyLengthLong":        {both(payload(longVarint...), count(1)), "record 0: "},
		"valuePastEnd":         {both(payload(valuePastEnd...), count(1)), "record 0: "},
		"twoHeadersOutOfNone":  {both(payload(twoHeaders...), count(1)), "record 0: "},
		"twoBillionHeaders":    {both(payload(manyHeaders...), count(1)), "record 0: "},
		"negativeHeaderCount":  {both(payload(lessHeaders...), count(1)), "record 0: "},
		"headerWithoutKey":     {both(payload(headerNoKey...), count(1)), "record 0: "},
		"bytesBehindHeaders":   {both(payload(unusedBytes...), count(1)), "record 0: "},
		"compressed":           {both(put(atAttributes, int16(Zstd)), payload(1, 2, 3)), ""},
		"compressed2Billion":   {both(put(atAttributes, int16(Gzip)), count(2_000_000_000)), "cannot be in"},
		"compressedNothing":    {both(put(atAttributes, int16(LZ4)), payload()), "cannot be in 0 compressed bytes"},
		"compressedCount-1":    {both(put(atAttributes, int16(Snappy)), put(atCount, int32(-1))), "-1 records"},
		"compressedDenseCount": {both(put(atAttributes, int16(Gzip)), both(payload(1, 2, 3), count(3*147))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, rest, err := Next(altered(reading(3), tc.change))
			if err != nil || len(rest) != 0 {
				t.Fatalf("the batch made for the test: %d bytes left, err %v", len(rest), err)
			}
			err = b.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("%v, want no complaint", err)
			case tc.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want ErrInvalid with %q", err, tc.want)
			}
		})
	}
}

func TestRecords(t *testing.T) {
	for name, tc := range map[string]struct {
		payload []byte
		count   int32
		seen    int
		err     error
	}{
		"none":             {nil, 0, 0, nil},
		"negative":         {smallest, -5, 0, nil},
		"one":              {smallest, 1, 1, nil},
		"threeOfThree":     {slices.Concat(smallest, smallest, smallest), 3, 3, nil},
		"twoOfThree":       {slices.Concat(smallest, smallest, smallest), 2, 2, nil},
		"moreThanThereAre": {slices.Concat(smallest, smallest), math.MaxInt32, 2, ErrInvalid},
		"secondCut":        {slices.Concat(smallest, smallest[:6]), 2, 1, ErrInvalid},
		"keyPastEnd":       {keyPastEnd, 1, 0, ErrInvalid},
		"valuePastEnd":     {valuePastEnd, 1, 0, ErrInvalid},
		"twoHeaders":       {twoHeaders, 1, 0, ErrInvalid},
		"manyHeaders":      {manyHeaders, 1, 0, ErrInvalid},
		"lessHeaders":      {lessHeaders, 1, 0, ErrInvalid},
		"headerWithoutKey": {headerNoKey, 1, 0, ErrInvalid},
		"unusedBytes":      {unusedBytes, 1, 0, ErrInvalid},
		"emptyRecord":      {emptyRecord, 1, 0, ErrInvalid},
		"endlessKey":       {endlessKey, 1, 0, ErrInvalid},
		"farOffset":        {farOffset, 1, 0, ErrInvalid},
		"length-1":         {[]byte{1, 0, 0, 0, 1, 1, 0}, 1, 0, ErrInvalid},
		"length2GB":        {[]byte{0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0}, 1, 0, ErrInvalid},
	} {
		seen := 0
		err := Records(tc.payload, tc.count, func(Record) bool { seen++; return true })
		if seen != tc.seen || !errors.Is(err, tc.err) {
			t.Errorf("%s: %d records, err %v, want %d, %v", name, seen, err, tc.seen, tc.err)
		}
	}
}

// A reader that has what it wants stops, and is not told of what comes later.
func TestRecordsStops(t *testing.T) {
	b := reading(3)
	seen := 0
	err := Records(b.Payload()[:len(b.Payload())-1], 3, func(Record) bool { seen++; return seen < 2 })
	if seen != 2 || err != nil {
		t.Errorf("%d records, err %v, want 2, nil", seen, err)
	}
}
