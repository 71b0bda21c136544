package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy"

	"github.com/headwater/headwater/broker/record"
)

// Both forms of snappy, and what neither is.
func TestSnappyForms(t *testing.T) {
	text := bytes.Repeat([]byte("headwater "), 20)
	raw := snappy.Encode(nil, text)
	header := xerialMagic + "\x00\x00\x00\x01\x00\x00\x00\x01"
	chunk := string([]byte{0, 0, 0, byte(len(raw))}) + string(raw)

	for name, tc := range map[string]struct {
		in   string
		want string
		err  error
	}{
		"raw":                 {string(raw), string(text), nil},
		"xerial":              {header + chunk, string(text), nil},
		"xerialTwoChunks":     {header + chunk + chunk, strings.Repeat(string(text), 2), nil},
		"xerialNoChunks":      {header, "", nil},
		"xerialOtherVersion":  {xerialMagic + "\x00\x00\x00\x02\x00\x00\x00\x01" + chunk, string(text), nil},
		"xerialHalfALength":   {header + "\x00\x00", "", ErrCorrupt},
		"xerialShortChunk":    {header + chunk[:len(chunk)-1], "", ErrCorrupt},
		"xerialNegative":      {header + "\xff\xff\xff\xff" + string(raw), "", ErrCorrupt},
		"xerial2GB":           {header + "\x7f\xff\xff\xff" + string(raw), "", ErrCorrupt},
		"xerialEmptyChunk":    {header + "\x00\x00\x00\x00", "", ErrCorrupt},
		"magicAlone":          {xerialMagic, "", ErrCorrupt},
		"claims4GB":           {"\xff\xff\xff\xff\x0f" + "\x00a", "", ErrCorrupt},
		"claimsMoreThan64Bit": {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "", ErrCorrupt},
		"s2":                  {string(s2Repeat(t)), "", ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decompress(record.Snappy, []byte(tc.in), 1<<20)
			if string(got) != tc.want || !errors.Is(err, tc.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

// s2Repeat returns a block in the extended format that Kafka's clients cannot
// read: it has a copy with offset 0.
func s2Repeat(t *testing.T) []byte {
	t.Helper()
	block := []byte{9, 0 << 2, 'a', 1, 1, 1, 0} // 9 bytes: "a", copy 4 from 1 back, repeat 4
	if got, err := s2.Decode(nil, block); err != nil || string(got) != "aaaaaaaaa" {
		t.Fatalf("the block made for the test: %q, %v", got, err)
	}
	return block
}

// What is written has the header and the blocks of snappy-java.
func TestSnappyIsXerial(t *testing.T) {
	got, err := Compress(record.Snappy, make([]byte, xerialBlockLen+1))
	if err != nil {
		t.Fatal(err)
	}
	wantHeader := "82534e415050590000000001" + "00000001"
	if h := hex.EncodeToString(got[:16]); h != wantHeader {
		t.Errorf("header %s, want %s", h, wantHeader)
	}
	first := got[20:]
	if n, err := snappy.DecodedLen(first); err != nil || n != 32768 {
		t.Errorf("the first block holds %d bytes, err %v, want 32768", n, err)
	}
}
