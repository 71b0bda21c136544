package ring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func total(t *testing.T, dir string) (bytes int64, text string) {
	t.Helper()
	for age := Files; age >= 0; age-- {
		r := Ring{dir: dir}
		data, err := os.ReadFile(r.name(age))
		if err == nil {
			bytes += int64(len(data))
			text += string(data)
		}
	}
	return bytes, text
}

// However much is written, the files keep the last of it, and no more than they may.
func TestRing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	var r Ring
	fmt.Fprintln(&r, "before")
	for start := range 3 { // as many boots
		r := &r
		if start > 0 {
			r = &Ring{}
		}
		if err := r.Open(dir); err != nil {
			t.Fatal(err)
		}
		if start == 0 {
			if _, text := total(t, dir); text != "before\n" {
				t.Fatalf("kept %q of before", text)
			}
		}
		for i := range 30_000 {
			fmt.Fprintf(r, "%d line %06d %s\n", start, i, strings.Repeat("x", 60))
		}
		r.Close()
		kept, text := total(t, dir)
		if kept > Files*FileBytes || kept < (Files-1)*FileBytes-100 && start > 0 {
			t.Errorf("keeps %d bytes", kept)
		}
		if !strings.Contains(text, fmt.Sprintf("%d line 029999", start)) || strings.Count(text, "line 029998") < 1 {
			t.Error("the last line is gone")
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != Files {
		t.Errorf("%d files (%v)", len(files), err)
	}
}

// Without a directory memory is bounded, and the last of it counts.
func TestBeforeOpen(t *testing.T) {
	var r Ring
	for i := range 10_000 {
		fmt.Fprintf(&r, "line %06d\n", i)
	}
	if len(r.before) > beforeBytes || !bytes.HasSuffix(r.before, []byte("line 009999\n")) {
		t.Errorf("%d bytes that end with %q", len(r.before), r.before[len(r.before)-12:])
	}
}

// What cannot be written is counted, and told once something can.
func TestLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	var r Ring
	if err := r.Open(dir); err != nil {
		t.Fatal(err)
	}
	r.file.Close() // every write fails
	for range 3 {
		if n, err := r.Write([]byte("gone\n")); n != 5 || err != nil {
			t.Fatalf("wrote %d (%v)", n, err)
		}
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&r, "there")
	if _, text := total(t, dir); text != "log: 3 writes lost\nthere\n" {
		t.Errorf("kept %q", text)
	}
	r.Close()
}

// Who reads gets each line once and in order, also while files take turns.
func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Errorf("where there is none: %v", err)
	}
	var r Ring
	if err := r.Open(dir); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const lines = 60_000
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range lines {
			fmt.Fprintf(&r, "line %06d %s\n", i, strings.Repeat("x", 60))
		}
	}()
	for over := false; !over; {
		select {
		case <-written:
			over = true
		default:
		}
		log, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(log)
		if err := errors.Join(err, log.Close()); err != nil {
			t.Fatal(err)
		}
		checkLines(t, string(text), over)
	}
}

// checkLines holds what was read against what is written. The last line may be cut.
func checkLines(t *testing.T, text string, whole bool) {
	t.Helper()
	next, got := -1, strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range got {
		var n int
		if _, err := fmt.Sscanf(line, "line %06d ", &n); err != nil {
			if i < len(got)-1 {
				t.Fatalf("line %d is %q", i, line)
			}
			break
		}
		if next >= 0 && n != next {
			t.Fatalf("line %06d follows %06d", n, next-1)
		}
		next = n + 1
	}
	if whole && (next != 60_000 || len(got) < (Files-1)*FileBytes/73) {
		t.Errorf("in the end there are %d lines, up to %d", len(got), next)
	}
}
