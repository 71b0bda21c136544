package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"
)

// memory is a disk whose power is cut after so many bytes were written.
type memory struct {
	bytes []byte
	left  int // bytes until the cut
}

var errCut = errors.New("power cut")

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.bytes)) {
		return 0, io.EOF
	}
	return copy(p, m.bytes[off:]), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	n := min(len(p), m.left)
	copy(m.bytes[off:], p[:n])
	m.left -= n
	if n < len(p) {
		return n, errCut
	}
	return n, nil
}

func (m *memory) Sync() error {
	if m.left == 0 {
		return errCut
	}
	return nil
}

const mib = 1 << 20

// image is a disk of 8 MiB with partitions at 1 to 2 and at 2 to 4 MiB, in a card of
// so many.
func image(sector int64, card int) *memory {
	m := &memory{make([]byte, 8*mib), 1 << 30}
	header := make([]byte, minHeaderBytes)
	copy(header, "EFI PART")
	le := binary.LittleEndian
	le.PutUint32(header[atHeaderBytes:], minHeaderBytes)
	le.PutUint32(header[atEntries:], 128)
	le.PutUint32(header[atEntryBytes:], 128)
	entries := make([]byte, 128*128)
	for i, name := range []string{"boot", "data"} {
		e := entries[i*128:]
		e[0] = 1
		le.PutUint64(e[atFirstLBA:], uint64(int64(i+1)*mib/sector))
		le.PutUint64(e[atLastLBA:], uint64(int64(2*(i+1))*mib/sector-1))
		for j, c := range name {
			le.PutUint16(e[atName+2*j:], uint16(c))
		}
	}
	t := &table{sector, header, entries}
	sectors := 8 * mib / sector
	if err := t.write(m, sectors, sectors-1-16384/sector-1); err != nil {
		panic(err)
	}
	m.bytes = append(m.bytes, make([]byte, (card-8)*mib)...)
	return m
}

// The last partition takes what the card has more, and then no more; the others stay.
func TestGrow(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		m := image(sector, 32)
		e, grown, err := Grow(m, 32*mib, sector, "data")
		if want := (Extent{2, 2 * mib, 29 * mib}); err != nil || !grown || e != want {
			t.Fatalf("sectors of %d: %+v, grown %v (%v), want %+v", sector, e, grown, err, want)
		}
		before := bytes.Clone(m.bytes)
		again, grown, err := Grow(m, 32*mib, sector, "data")
		if err != nil || grown || again != e || !bytes.Equal(m.bytes, before) {
			t.Errorf("again: %+v, grown %v (%v)", again, grown, err)
		}
		// Between the two tables is what can be used: behind it lie 16 KiB of entries and
		// a header.
		lastUsable := uint64(65502)
		if sector == 4096 {
			lastUsable = 8186
		}
		for _, lba := range []int64{1, 32*mib/sector - 1} {
			table, err := readAt(m, lba, 32*mib, sector)
			if err != nil {
				t.Fatalf("table at %d: %v", lba, err)
			}
			if got := binary.LittleEndian.Uint64(table.header[atLastUsable:]); got != lastUsable {
				t.Errorf("sectors of %d: the table at %d has %d as the last usable, want %d", sector, lba, got, lastUsable)
			}
			if first, last := table.lbas(table.entries); first != mib/sector || last != 2*mib/sector-1 {
				t.Errorf("the other partition is at %d to %d now", first, last)
			}
		}
	}
}

// Wherever the power is cut, the box finds a table at its next start, with the
// partition as it was or as it shall be, and ends where an uncut one does.
func TestGrowCut(t *testing.T) {
	whole := image(512, 16)
	if _, _, err := Grow(whole, 16*mib, 512, "data"); err != nil {
		t.Fatal(err)
	}
	written := 2 * (16384 + 512)
	for cut := 1; cut < written; cut += 997 {
		m := image(512, 16)
		m.left = cut
		if _, _, err := Grow(m, 16*mib, 512, "data"); !errors.Is(err, errCut) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		m.left = 1 << 30
		e, _, err := Grow(m, 16*mib, 512, "data")
		if err != nil || e.Start != 2*mib {
			t.Fatalf("after a cut at %d: %+v (%v)", cut, e, err)
		}
	}
}

// A table that is not whole, or in which growing would hurt, is left alone.
func TestGrowRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		label  string
		damage func(m *memory)
		want   error
	}{
		"noLabel":      {"log", func(*memory) {}, ErrNoPart},
		"notLast":      {"boot", func(*memory) {}, ErrNotLast},
		"empty":        {"data", func(m *memory) { clear(m.bytes) }, ErrNoTable},
		"entries":      {"data", func(m *memory) { m.bytes[1024+40] ^= 1 }, ErrNoTable},
		"header":       {"data", func(m *memory) { m.bytes[512+60] ^= 1 }, ErrNoTable},
		"hugeEntries":  {"data", func(m *memory) { reseal(m, atEntries, 1<<31) }, ErrNoTable},
		"smallEntries": {"data", func(m *memory) { reseal(m, atEntryBytes, 1) }, ErrNoTable},
		"farEntries":   {"data", func(m *memory) { reseal(m, atEntriesLBA+4, 1<<31) }, ErrNoTable},
	} {
		m := image(512, 16) // whose copy is not at the card's end
		tc.damage(m)
		before := bytes.Clone(m.bytes)
		if _, _, err := Grow(m, 16*mib, 512, tc.label); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if !bytes.Equal(before, m.bytes) {
			t.Errorf("%s: something was written", name)
		}
	}
}

// reseal changes a field of the header, whose checksum is right nevertheless.
func reseal(m *memory, at int, value uint32) {
	h := m.bytes[512:][:minHeaderBytes]
	binary.LittleEndian.PutUint32(h[at:], value)
	binary.LittleEndian.PutUint32(h[atHeaderCRC:], 0)
	binary.LittleEndian.PutUint32(h[atHeaderCRC:], crc32.ChecksumIEEE(h))
}

// A table made of anything is grown or refused, and a partition stays on its disk.
func FuzzGrow(f *testing.F) {
	m := image(512, 8)
	f.Add(m.bytes[512:1536])
	f.Fuzz(func(t *testing.T, start []byte) {
		m := image(512, 8)
		copy(m.bytes[512:], start[:min(len(start), 17<<10)])
		e, _, err := Grow(m, 8*mib, 512, "data")
		if err == nil && (e.Start < 512 || e.Bytes < 512) {
			t.Errorf("lies at %+v", e)
		}
	})
}
