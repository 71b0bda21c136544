package codec

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/pierrec/lz4/v4"

	"github.com/headwater/headwater/broker/record"
)

// Every form that one frame can have is read; more or less than one is not.
func TestLZ4Frames(t *testing.T) {
	text := bytes.Repeat([]byte("headwater "), 20_000) // some blocks of 64 KiB
	plain := lz4Frame(t, text, lz4.BlockSizeOption(lz4.Block64Kb))
	for name, tc := range map[string]struct {
		in  []byte
		err error
	}{
		"plain":         {plain, nil},
		"blocks4MiB":    {lz4Frame(t, text), nil},
		"noContentHash": {lz4Frame(t, text, lz4.ChecksumOption(false)), nil},
		"blockHashes":   {lz4Frame(t, text, lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true)), nil},
		"contentSize":   {lz4Frame(t, text, lz4.SizeOption(uint64(len(text)))), nil},
		"legacy":        {lz4Frame(t, text, lz4.LegacyOption(true)), ErrCorrupt},
		"twoFrames":     {slices.Concat(plain, plain), ErrCorrupt},
		"trailingByte":  {append(slices.Clone(plain), 0), ErrCorrupt},
		"skippable":     {slices.Concat([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, plain), ErrCorrupt},
		"magicAlone":    {plain[:4], ErrCorrupt},
		"descriptor":    {plain[:7], ErrCorrupt},
		"block2GB":      {slices.Concat(plain[:7], []byte{0xff, 0xff, 0xff, 0x7f}, plain[11:]), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decompress(record.LZ4, tc.in, int64(len(text)))
			if !errors.Is(err, tc.err) || err == nil && !bytes.Equal(got, text) {
				t.Errorf("%d bytes of %d, err %v, want %v", len(got), len(text), err, tc.err)
			}
		})
	}
}
