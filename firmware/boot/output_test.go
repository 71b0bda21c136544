package boot

import (
	"bytes"
	"strings"
	"testing"
)

// Lines come whole, however they are cut, and a line without end is one all the same.
func TestByLine(t *testing.T) {
	var lines []string
	b := &byLine{to: writer(func(p []byte) { lines = append(lines, string(p)) })}
	for _, part := range []string{"one\ntw", "o\n", "", "thr", "ee\nfour\n", strings.Repeat("x", maxLine+5), "\n"} {
		if n, err := b.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("wrote %d of %d (%v)", n, len(part), err)
		}
	}
	want := []string{"one\n", "two\n", "three\n", "four\n", strings.Repeat("x", maxLine) + "\n", "xxxxx\n"}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("lines %.200q", lines)
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// Who writes does not wait for a console that stands still, and what it took is written
// at the end.
func TestConsole(t *testing.T) {
	c := newConsole()
	for range consoleLines + 10 {
		if n, err := c.Write([]byte("line\n")); n != 5 || err != nil {
			t.Fatal(n, err)
		}
	}
	done := make(chan struct{})
	close(done)
	var out bytes.Buffer
	c.run(&out, done)
	if c.lost.Load() != 10 || out.Len() != 5*consoleLines {
		t.Errorf("lost %d lines, wrote %d bytes", c.lost.Load(), out.Len())
	}
}
