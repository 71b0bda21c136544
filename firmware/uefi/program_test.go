package uefi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/headwater/headwater/firmware/uefi/uefitest"
)

var body = bytes.Repeat([]byte("kernel"), 1000)

// A program is taken; what UEFI would not load is refused, and told why.
func TestCheck(t *testing.T) {
	const header, optional, table = 0x40, 0x58, 0x58 + 160
	put := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	for name, tc := range map[string]struct {
		spoil func([]byte) []byte
		want  string // "" is taken
	}{
		"whole":      {func(b []byte) []byte { return b }, ""},
		"empty":      {func([]byte) []byte { return nil }, "MZ"},
		"text":       {func([]byte) []byte { return body }, "MZ"},
		"cutInHead":  {func(b []byte) []byte { return b[:0x50] }, "no PE header"},
		"noHeader":   {put(0x3c, 0x60), "no PE header"},
		"farHeader":  {put(0x3c, 1<<31), "no PE header"},
		"amd64":      {put(header+4, 0x18664), "machine 0x8664"},
		"driver":     {put(optional+68, 11), "subsystem 11"},
		"small":      {put(optional, 0x10b), "kind 0x10b"},
		"noSections": {put(header+4, 0xaa64), "0 sections"},
		"sections":   {put(header+4, 0xffffaa64), "65535 sections"},
		"table":      {put(header+20, 8), "sections"},
		"cut":        {func(b []byte) []byte { return b[:len(b)-1] }, "cut short"},
		"huge":       {put(table+16, 0xffffffff), "cut short"},
		"entry":      {put(optional+16, 0x10), "begins (0x10)"},
	} {
		file := tc.spoil(uefitest.Program(body))
		err := CheckFile(file)
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// A loader that resets at its return is a program still. It begins in the code that was
// added, whose call leads to where it began before; nothing else of it has changed.
func TestResetAtReturn(t *testing.T) {
	loader := uefitest.Program(body)
	got, err := ResetAtReturn(loader)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckFile(got); err != nil {
		t.Error(err)
	}
	p, err := parse(got)
	if err != nil {
		t.Fatal(err)
	}
	line := p.table + sectionBytes
	place, raw := p.u32(p.optional+atEntry), int(p.u32(line+atRaw))
	if p.sections != 2 || place != p.u32(line+atVirtual) || int(p.u32(p.optional+atImageBytes)) != 0x4000 || place != 0x3000 {
		t.Errorf("%d sections; it begins at %#x, and the new one lies at %#x; %#x bytes in memory", p.sections, place, p.u32(line+atVirtual), p.u32(p.optional+atImageBytes))
	}
	call := p.u32(raw + callAt*instruction)
	distance := int64(int32(call<<6)>>6) * instruction
	if call>>26 != 0x25 || int64(place)+callAt*instruction+distance != 0x1000 {
		t.Errorf("the call %#x leads to %#x, want 0x1000", call, int64(place)+callAt*instruction+distance)
	}
	if !bytes.Equal(got[0x1000:len(loader)], loader[0x1000:]) {
		t.Error("the loader's own code has changed")
	}
	if _, err := ResetAtReturn([]byte("loader")); !errors.Is(err, ErrProgram) {
		t.Errorf("no loader: %v", err)
	}
	full := uefitest.Program(body)
	full[line+3] = 1
	if _, err := ResetAtReturn(full); !errors.Is(err, ErrProgram) {
		t.Errorf("no room: %v", err)
	}
}

// Whatever the bytes are, nothing panics; what is taken has a program in it, and what a
// loader becomes is taken, too.
func FuzzCheck(f *testing.F) {
	f.Add(uefitest.Program(body))
	f.Add(uefitest.Program(nil))
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if CheckFile(file) != nil {
			return
		}
		out, err := ResetAtReturn(file)
		if err != nil {
			return
		}
		if err := CheckFile(out); err != nil {
			t.Errorf("with a reset: %v", err)
		}
	})
}
