package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/headwater/headwater/broker/record"
)

const gigabyte = 1 << 30

// A small input that claims, or becomes, gigabytes costs no more than what is
// allowed and the codec's own blocks, and is refused.
func TestBombs(t *testing.T) {
	const allowed = 1 << 20
	for name, bomb := range map[string]struct {
		codec record.Codec
		in    []byte
		err   error
	}{
		"gzip":             {record.Gzip, gzipBomb(t), ErrTooLarge},
		"snappyClaim":      {record.Snappy, binary.AppendUvarint(nil, gigabyte), ErrCorrupt},
		"snappyBlocks":     {record.Snappy, xerialBomb(), ErrTooLarge},
		"lz4":              {record.LZ4, lz4Bomb(t), ErrTooLarge},
		"lz4Claim":         {record.LZ4, lz4Claim(t), ErrCorrupt},
		"lz4EmptyFrames":   {record.LZ4, bytes.Repeat(lz4Frame(t, nil), 20_000), ErrCorrupt},
		"gzipEmptyMembers": {record.Gzip, bytes.Repeat(packed(t, record.Gzip, nil), 20_000), nil},
		"zstdEmptyFrames":  {record.Zstd, bytes.Repeat(packed(t, record.Zstd, nil), 20_000), nil},
		"zstdSmallFrames":  {record.Zstd, bytes.Repeat(packed(t, record.Zstd, []byte("21.5")), 20_000), nil},
		"zstd":             {record.Zstd, zstdBomb(gigabyte), ErrTooLarge},
		"zstdSizeClaim":    {record.Zstd, zstdHeader(0xe0, 8, gigabyte), ErrTooLarge},
		"zstdSizeClaimMax": {record.Zstd, zstdHeader(0xe0, 8, 1<<63), ErrTooLarge},
		"zstdWindowClaim":  {record.Zstd, append(zstdHeader(0x00, 1, 0xff), 3, 0, 0, 0), ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			var err error
			spent := allocated(func() { got, err = Decompress(bomb.codec, bomb.in, allowed) })
			if !errors.Is(err, bomb.err) || len(got) > allowed {
				t.Errorf("%d bytes in: %d bytes out, err %v, want %v", len(bomb.in), len(got), err, bomb.err)
			}
			// Every buffer on the way to the allowed size together, and the
			// window or block of a codec: some 8 MiB at most.
			if limit := uint64(3*allowed + 12<<20); spent > limit {
				t.Errorf("%d bytes in: %d bytes were allocated, want %d at most", len(bomb.in), spent, limit)
			}
		})
	}
}

// allocated returns how many bytes f allocated, those of other goroutines
// included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func gzipBomb(t *testing.T) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	copyZeros(t, w, 64<<20)
	return out.Bytes()
}

func lz4Bomb(t *testing.T) []byte {
	var out bytes.Buffer
	copyZeros(t, lz4.NewWriter(&out), 64<<20)
	return out.Bytes()
}

func copyZeros(t *testing.T, w io.WriteCloser, n int64) {
	t.Helper()
	if _, err := io.CopyN(w, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func packed(t *testing.T, c record.Codec, content []byte) []byte {
	t.Helper()
	out, err := Compress(c, content)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func lz4Frame(t *testing.T, content []byte, options ...lz4.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(options...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// lz4Claim is a frame whose header claims a gigabyte, and then ends.
func lz4Claim(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(lz4.SizeOption(gigabyte)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	w.Close() // it says that the size is wrong, which is the point
	return append(out.Bytes(), 0, 0, 0, 0)
}

// xerialBomb is as many of the densest blocks as make a gigabyte.
func xerialBomb() []byte {
	block := snappy.Encode(nil, make([]byte, 1<<20))
	chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(block))), block...)
	return []byte(xerialMagic + "\x00\x00\x00\x01\x00\x00\x00\x01" + strings.Repeat(string(chunk), 16))
}

// zstdBomb is n zero bytes as blocks that say one byte and how often: RFC 8878,
// 3.1.1.2.
func zstdBomb(n int) []byte {
	const block = 128 << 10
	out := zstdHeader(0x00, 1, 7<<3) // a window of 128 KiB
	for ; n > 0; n -= block {
		last := uint32(0)
		if n <= block {
			last = 1
		}
		h := last | 1<<1 | block<<3
		out = append(out, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return out
}

// zstdHeader is a frame's magic number and header: its descriptor and one field
// of size bytes, RFC 8878, 3.1.1.1.
func zstdHeader(descriptor byte, size int, field uint64) []byte {
	out := append([]byte{0x28, 0xb5, 0x2f, 0xfd}, descriptor)
	return append(out, binary.LittleEndian.AppendUint64(nil, field)[:size]...)
}

// A window up to the limit is read, though the contents are allowed to be
// smaller than it; a larger one is refused.
func TestZstdWindow(t *testing.T) {
	want := bytes.Repeat([]byte("21.5 "), 1000)
	for window, wantErr := range map[int]error{
		maxZstdWindow:     nil,
		maxZstdWindow * 2: ErrTooLarge,
	} {
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(want[:100])
		w.Flush() // a stream, whose header cannot know the size
		w.Write(want[100:])
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := Decompress(record.Zstd, out.Bytes(), int64(len(want)))
		if !errors.Is(err, wantErr) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("window %d: %d bytes of %d, err %v, want %v", window, len(got), len(want), err, wantErr)
		}
	}
}
