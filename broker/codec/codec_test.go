package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/broker/record"
)

var codecs = []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd}

// inputs are what batches are made of: nothing, little, text that repeats,
// noise, and sizes around the codecs' own blocks.
func inputs() map[string][]byte {
	noise := make([]byte, 300<<10)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(noise)
	readings := bytes.Repeat([]byte("plant7.press3.temp 21.75 2014-02-14T14:30:00Z\n"), 5000)
	return map[string][]byte{
		"empty":         {},
		"oneByte":       {7},
		"text":          []byte("21.5"),
		"readings":      readings,
		"zeros":         make([]byte, 1<<20),
		"noise":         noise,
		"xerialBlock":   readings[:xerialBlockLen],
		"xerialBlock+1": readings[:xerialBlockLen+1],
		"lz4Block":      noise[:64<<10],
		"lz4Block+1":    noise[:64<<10+1],
		"mixed":         slices.Concat(readings, noise, readings),
	}
}

func TestRoundTrip(t *testing.T) {
	for name, want := range inputs() {
		for _, c := range codecs {
			packed, err := Compress(c, want)
			if err != nil {
				t.Fatalf("%s, %v: compress: %v", name, c, err)
			}
			got, err := Decompress(c, packed, int64(len(want)))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %v: %d bytes came back of %d, err %v", name, c, len(got), len(want), err)
			}
		}
	}
}

// The limit is exact: what fits to the byte comes out, a byte less does not.
func TestLimitIsExact(t *testing.T) {
	for name, want := range inputs() {
		if len(want) == 0 {
			continue
		}
		for _, c := range codecs {
			packed, err := Compress(c, want)
			if err != nil {
				t.Fatal(err)
			}
			for _, limit := range []int{len(want) - 1, len(want) / 2, 1, 0, -1} {
				if limit == len(want) {
					continue
				}
				if got, err := Decompress(c, packed, int64(limit)); !errors.Is(err, ErrTooLarge) {
					t.Errorf("%s, %v, limit %d of %d: %d bytes, err %v, want ErrTooLarge", name, c, limit, len(want), len(got), err)
				}
			}
		}
	}
}

// Every prefix of a compressed payload is corrupt, or, where the format has no
// end mark, a prefix of the payload.
func TestTruncated(t *testing.T) {
	want := inputs()["readings"][:9000]
	for _, c := range codecs[1:] {
		packed, err := Compress(c, want)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(packed) {
			got, err := Decompress(c, packed[:n], 1<<20)
			if err == nil && (c != record.Snappy || !bytes.HasPrefix(want, got)) {
				t.Errorf("%v cut to %d of %d bytes: %d bytes and no error", c, n, len(packed), len(got))
			}
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v cut to %d of %d bytes: %v, want ErrCorrupt", c, n, len(packed), err)
			}
		}
	}
}

func TestUnknownCodec(t *testing.T) {
	for _, c := range []record.Codec{5, 6, 7, -1} {
		if _, err := Decompress(c, []byte("x"), 10); !errors.Is(err, ErrCorrupt) {
			t.Errorf("decompress %v: %v, want ErrCorrupt", c, err)
		}
		if _, err := Compress(c, []byte("x")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("compress %v: %v, want ErrCorrupt", c, err)
		}
	}
	for _, c := range codecs[1:] {
		if _, err := Decompress(c, nil, 10); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v of no bytes: %v, want ErrCorrupt", c, err)
		}
	}
}

// A Kafka client written by others reads what this room writes, and the other
// way round.
func TestKgo(t *testing.T) {
	theirs := map[record.Codec]kgo.CompressionCodec{
		record.Gzip:   kgo.GzipCompression(),
		record.Snappy: kgo.SnappyCompression(),
		record.LZ4:    kgo.Lz4Compression(),
		record.Zstd:   kgo.ZstdCompression(),
	}
	decompressor := kgo.DefaultDecompressor()
	for c, codec := range theirs {
		compressor, err := kgo.DefaultCompressor(codec)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range inputs() {
			if len(want) == 0 {
				continue // a client has no empty batches
			}
			var buf bytes.Buffer
			packed, kind := compressor.Compress(&buf, want)
			if got, err := Decompress(record.Codec(kind), packed, int64(len(want))); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v, %s: read theirs: %d bytes of %d, err %v", c, name, len(got), len(want), err)
			}
			packed, err = Compress(c, want)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := decompressor.Decompress(packed, kgo.CompressionCodecType(c)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v, %s: they read ours: %d bytes of %d, err %v", c, name, len(got), len(want), err)
			}
		}
	}
}

// Records sees the same records whatever compressed them.
func TestRecords(t *testing.T) {
	var plain record.Builder
	for i := range 1000 {
		plain.Add(int64(i), []byte("press3"), fmt.Appendf(nil, "%d", i), []record.Header{{Key: "unit", Value: []byte("C")}})
	}
	b := plain.Batch()
	for _, c := range codecs {
		packed := recompress(t, b, c)
		next := 0
		err := Records(packed, int64(len(b)), func(r record.Record) bool {
			if int(r.OffsetDelta) != next || string(r.Value) != fmt.Sprint(next) || len(r.Headers) != 1 {
				t.Errorf("%v: record %d is %+v", c, next, r)
			}
			next++
			return true
		})
		if err != nil || next != 1000 {
			t.Errorf("%v: %d records, err %v, want 1000", c, next, err)
		}
		if c == record.None {
			continue
		}
		if err := Records(packed, 1000, func(record.Record) bool { return true }); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v with 1000 bytes allowed: %v, want ErrTooLarge", c, err)
		}
	}
	if err := Records(recompress(t, b[:len(b)-1], record.Zstd), 1<<20, func(record.Record) bool { return true }); !errors.Is(err, record.ErrInvalid) {
		t.Errorf("a record cut short: %v, want record.ErrInvalid", err)
	}
}

// recompress returns b with its payload compressed by c. Only what Records looks
// at is set.
func recompress(t *testing.T, b record.Batch, c record.Codec) record.Batch {
	t.Helper()
	packed, err := Compress(c, b.Payload())
	if err != nil {
		t.Fatal(err)
	}
	out := slices.Concat(b[:record.HeaderLen], packed)
	out[22] = byte(c) // the low byte of the attributes
	return out
}

// Pooled readers and writers are not shared between callers, none is spoilt by a
// corrupt input, and none leaves a goroutine.
func TestConcurrently(t *testing.T) {
	in := inputs()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for _, want := range in {
				for _, c := range codecs[1:] {
					packed, err := Compress(c, want)
					if err != nil {
						t.Error(err)
						return
					}
					Decompress(c, packed[:len(packed)*i/8], 1<<22)
					if got, err := Decompress(c, packed, 1<<22); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%v: %d bytes of %d, err %v", c, len(got), len(want), err)
					}
				}
			}
		})
	}
	wg.Wait()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	// The goroutines above may not be gone yet, but were not made by these.
	makers := regexp.MustCompile(`created by github\.com/(klauspost|pierrec|headwater/headwater/broker/codec\.[a-z]).*`)
	if left := makers.FindAll(stacks, -1); left != nil {
		t.Errorf("goroutines are left: %q", left)
	}
}
