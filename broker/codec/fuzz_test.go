package codec

import (
	"bytes"
	"errors"
	"testing"

	"github.com/headwater/headwater/broker/record"
)

// Decompress never panics, never returns more than it may, and names what is
// wrong with one of the two errors.
func FuzzDecompress(f *testing.F) {
	for _, in := range [][]byte{nil, []byte("21.5"), bytes.Repeat([]byte("headwater "), 300)} {
		for _, c := range codecs {
			packed, err := Compress(c, in)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(int8(c), packed, int64(1<<16))
			f.Add(int8(c), packed, int64(len(in)-1))
		}
	}
	f.Add(int8(record.Zstd), zstdBomb(1<<20), int64(1<<12))
	f.Fuzz(func(t *testing.T, c int8, src []byte, maxBytes int64) {
		maxBytes %= 1 << 20
		kept := bytes.Clone(src)
		got, err := Decompress(record.Codec(c), src, maxBytes)
		switch {
		case err == nil && int64(len(got)) > max(maxBytes, 0):
			t.Errorf("%d bytes, %d are allowed", len(got), maxBytes)
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge):
			t.Errorf("an error of neither kind: %v", err)
		case !bytes.Equal(src, kept):
			t.Error("the input was changed")
		}
	})
}

// What Compress wrote, Decompress reads back, within exactly its size.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("21.5"))
	f.Add(bytes.Repeat([]byte{0}, 3000))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, c := range codecs {
			packed, err := Compress(c, in)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Decompress(c, packed, int64(len(in))); err != nil || !bytes.Equal(got, in) {
				t.Errorf("%v: %x came back as %x, err %v", c, in, got, err)
			}
		}
	})
}
