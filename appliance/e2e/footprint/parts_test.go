package main

import (
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headwater/headwater/appliance/process"
)

func TestPackageOf(t *testing.T) {
	for symbol, want := range map[string]string{
		"runtime.mallocgc": "runtime",
		"github.com/nats-io/nats-server/v2/server.(*Server).Start.func1": "github.com/nats-io/nats-server/v2/server",
		"slices.pdqsortCmpFunc[go.shape.struct { a.b/c.name string }]":   "slices",
		"a.b/c.list[go.shape.struct { Name string }].parse":              "a.b/c",
		"gopkg.in/yaml%2ev3.init":                                        "gopkg.in/yaml.v3",
		"main.main":                                                      "main",
		"type:.eq.a.b/c.T":                                               "",
		"go:itab.*a.b/c.T,d.e/f.I":                                       "",
		"struct { *a.b/c.T; net/http.Pusher }.Push":                      "",
		"": "",
		"vendor/golang.org/x/net/dns/dnsmessage.(*Parser).Question":              "vendor/golang.org/x/net/dns/dnsmessage",
		"github.com/headwater/headwater/broker/wire.NewRequest.maker[...].func1": "github.com/headwater/headwater/broker/wire",
	} {
		if got := packageOf(symbol); got != want {
			t.Errorf("%q is of package %q, want %q", symbol, got, want)
		}
	}
}

// The parts of a program are all of it: they add up to what its stripped file has, within
// what the ELF's own headers and the gaps between segments take.
func TestPartsAddUp(t *testing.T) {
	dir := t.TempDir()
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64"}
	whole, stripped := filepath.Join(dir, "whole"), filepath.Join(dir, "stripped")
	for out, args := range map[string][]string{whole: nil, stripped: {"-ldflags", "-s -w"}} {
		if err := process.BuildPackage(t.Context(), "./appliance/cmd/mkdeb", out, env, args); err != nil {
			t.Fatal(err)
		}
	}
	f, err := elf.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sizes, err := partsOf(f, map[string]string{"runtime": standard, "main": own})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(stripped)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for part, size := range sizes {
		if sum += size; size <= 0 {
			t.Errorf("%s has %d bytes", part, size)
		}
	}
	if gap := info.Size() - sum; gap < 0 || gap > 4*64<<10 {
		t.Errorf("the parts have %d bytes, the stripped file %d: %v", sum, info.Size(), sizes)
	}
	if table := partsTable(sizes); strings.Count(table, "\n") != 2+len(sizes) {
		t.Errorf("%d parts:\n%s", len(sizes), table)
	}
}
