package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// flipsARound is how many bits flip before each start of TestFlips, and while it
// runs.
const flipsARound = 10

// Bits flip all over a data directory, before a start and while the process runs: it
// always starts, in bounded time, serves nothing but what was written at its
// offset, and counts what is gone; and it takes new records.
func TestFlips(t *testing.T) {
	rng := seeded(t)
	flips := rounds(t, "HEADWATER_FLIPS", 100)
	images := []*pristine{newPristine(t, true), newPristine(t, false)}
	p := prepare(t, filepath.Join(t.TempDir(), "data"), smallSegments...)
	var slowest time.Duration
	lost := int64(0)
	for round := range (flips + flipsARound - 1) / flipsARound {
		whole := images[round%len(images)]
		restore(t, p.DataDir, whole.files)
		running := 0
		if round%4 >= 2 {
			running = flipsARound / 2
		}
		where := flipAll(t, p.DataDir, rng, flipsARound-running)
		began := time.Now()
		restart(t, p)
		slowest = max(slowest, time.Since(began))
		parts := identified(where)
		where = append(where, flipAll(t, p.DataDir, rng, running)...)
		lost += whole.checkAll(t, p, parts)
		if err := produceOne(t, p, damageTopic, 100); err != nil && len(parts) == len(damageParts) {
			t.Errorf("a new record: %v", err)
		}
		if round%2 == 0 {
			kill(t, p)
		} else {
			stopWell(t, p)
		}
		if t.Failed() {
			t.Fatalf("round %d, flipped %v", round, where)
		}
	}
	t.Logf("%d flips, %d offsets lost, the slowest start took %v", flips, lost, slowest)
	if slowest > 10*time.Second {
		t.Errorf("a start took %v", slowest)
	}
}

// identified returns the partitions of which a file is whole that says whose they
// are. One of which all three are damaged is left alone.
func identified(flipped []string) (parts []part) {
	hit := func(name string) bool {
		return slices.ContainsFunc(flipped, func(f string) bool { return strings.HasPrefix(f, name+":") })
	}
	for _, of := range damageParts {
		own := fmt.Sprintf("%s-%d/partition.metadata", of.topic, of.index)
		if !hit(own) || !hit("headwater.topics.json") || !hit("headwater.checkpoint") {
			parts = append(parts, of)
		}
	}
	return parts
}

// flipAll flips n bits in the files below dir: every second one in a file by
// chance, the others in a byte by chance.
func flipAll(t *testing.T, dir string, rng *rand.Rand, n int) (where []string) {
	t.Helper()
	files := filesOf(t, dir)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(name string) bool { return len(files[name]) == 0 })
	total := 0
	for _, name := range names {
		total += len(files[name])
	}
	for i := range n {
		name, at := names[rng.IntN(len(names))], 0
		if i%2 == 0 {
			at = rng.IntN(len(files[name]))
		} else {
			at = rng.IntN(total)
			for _, name = range names {
				if at < len(files[name]) {
					break
				}
				at -= len(files[name])
			}
		}
		bit := byte(1) << rng.IntN(8)
		where = append(where, fmt.Sprintf("%s:%d^%02x", name, at, bit))
		files[name][at] ^= bit
		if err := writeByte(filepath.Join(dir, name), int64(at), files[name][at]); err != nil {
			t.Fatal(err)
		}
	}
	return where
}

func writeByte(path string, at int64, b byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return ifThere(err)
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{b}, at)
	return err
}
