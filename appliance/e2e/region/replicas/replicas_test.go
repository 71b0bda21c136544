package replicas

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/headwater/headwater/broker/record"
)

// batch has n records from an offset on.
func batch(base int64, n int, epoch int32, text string) []byte {
	var b record.Builder
	for i := range n {
		b.Add(int64(i), nil, fmt.Append(nil, text, i), nil)
	}
	made := b.Batch()
	made.Stamp(base, epoch)
	return bytes.Clone(made)
}

// disk has the segments of one partition, by their base offsets.
func disk(segments map[int64][]byte) fstest.MapFS {
	files := fstest.MapFS{}
	for base, data := range segments {
		files[fmt.Sprintf("t-0/%020d.log", base)] = &fstest.MapFile{Data: data}
	}
	return files
}

func read(t *testing.T, dir fstest.MapFS) *Log {
	t.Helper()
	l, err := Read(dir, "t-0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Two copies are equal whatever their segments are, and differ by a byte, an epoch, an
// offset or an end.
func TestDifference(t *testing.T) {
	a, b, c := batch(0, 3, 1, "a"), batch(3, 2, 1, "b"), batch(5, 1, 2, "c")
	one := disk(map[int64][]byte{0: slices.Concat(a, b, c)})
	for name, tc := range map[string]struct {
		other fstest.MapFS
		end   int64
		want  string // a part of it
	}{
		"same":             {one, 6, ""},
		"otherSegments":    {disk(map[int64][]byte{0: a, 3: slices.Concat(b, c)}), 6, ""},
		"emptyLastSegment": {disk(map[int64][]byte{0: slices.Concat(a, b, c), 6: nil}), 6, ""},
		"zerosAtTheEnd":    {disk(map[int64][]byte{0: slices.Concat(a, b, c, make([]byte, 4096))}), 6, ""},
		"fewZeros":         {disk(map[int64][]byte{0: slices.Concat(a, b, c, make([]byte, 5))}), 6, ""},
		"beginsLater":      {disk(map[int64][]byte{3: slices.Concat(b, c)}), 6, ""},
		"shorterBeyond":    {disk(map[int64][]byte{0: slices.Concat(a, b)}), 5, ""},
		"otherBeyond":      {disk(map[int64][]byte{0: slices.Concat(a, b, batch(5, 1, 3, "x"))}), 5, ""},
		"shorterBelow":     {disk(map[int64][]byte{0: slices.Concat(a, b)}), 6, "one ends at 6, the other at 5"},
		"otherContent":     {disk(map[int64][]byte{0: slices.Concat(a, batch(3, 2, 1, "x"), c)}), 6, "at offset 3"},
		"otherEpoch":       {disk(map[int64][]byte{0: slices.Concat(a, b, batch(5, 1, 3, "c"))}), 6, "epoch 3"},
		"otherBatches":     {disk(map[int64][]byte{0: slices.Concat(batch(0, 2, 1, "a"), batch(2, 1, 1, "a"), b, c)}), 6, "at offset 0"},
		"bothEndBelow":     {one, 7, "one ends at 6, the other at 6"},
		"empty":            {disk(map[int64][]byte{0: nil}), 6, "the other at 0"},
		"emptyFromTheEnd":  {disk(map[int64][]byte{6: nil}), 6, "3 and 0 batches"},
	} {
		got := Difference(read(t, one), read(t, tc.other), tc.end)
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// What is torn or corrupt is told, and a partition that is not there.
func TestReadRefuses(t *testing.T) {
	a := batch(0, 3, 1, "a")
	corrupt := bytes.Clone(a)
	corrupt[len(corrupt)-1] ^= 1
	for name, dir := range map[string]fstest.MapFS{
		"torn": disk(map[int64][]byte{0: a[:len(a)-1]}), "corrupt": disk(map[int64][]byte{0: corrupt}), "none": {},
		"name": {"t-0/x.log": &fstest.MapFile{Data: a}},
	} {
		if l, err := Read(dir, "t-0"); err == nil {
			t.Errorf("%s: read %+v", name, l)
		}
	}
}

func TestHighWatermarks(t *testing.T) {
	got, err := HighWatermarks(fstest.MapFS{"replication-offset-checkpoint": &fstest.MapFile{Data: []byte("0\n2\nt 0 17\nmy.topic 12 5\n")}})
	if want := map[string]int64{"t-0": 17, "my.topic-12": 5}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"0\n1\nt 0\n", "0\n1\nt 0 x\n"} {
		if got, err := HighWatermarks(fstest.MapFS{"replication-offset-checkpoint": &fstest.MapFile{Data: []byte(bad)}}); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}
