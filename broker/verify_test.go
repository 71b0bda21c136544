package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/headwater/headwater/broker/commitlog"
	"github.com/headwater/headwater/broker/disk"
	"github.com/headwater/headwater/broker/partition"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

const (
	verifyDir = "data"
	// each of 30 batches of 503 bytes, 11 of them in a segment: 0, 11 and 22
	verifyBatches, verifySegment = 30, 6000
)

var quiet = slog.New(slog.DiscardHandler)

// image is a data directory: names and contents. Empty directories are left out.
type image map[string][]byte

func imageOf(t testing.TB, fsys disk.FS, dir string) image {
	t.Helper()
	all := image{}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			maps.Copy(all, imageOf(t, fsys, path))
			continue
		}
		if all[path], err = disk.ReadFile(fsys, path, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// disk returns the image on a file system of its own.
func (i image) disk(t testing.TB) *disk.Crash {
	t.Helper()
	fsys := disk.NewCrash(0)
	for _, name := range slices.Sorted(maps.Keys(i)) {
		if err := fsys.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			_, err = f.WriteAt(i[name], 0)
			err = errors.Join(err, f.Sync(), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

func (i image) clone() image {
	c := image{}
	for name, data := range i {
		c[name] = bytes.Clone(data)
	}
	return c
}

// dataImage is a data directory with two topics: plain-0, plain-1, and once-0, which
// an idempotent producer wrote. clean says how the last stop was.
func dataImage(t testing.TB, clean bool) image {
	t.Helper()
	fsys := disk.NewCrash(0)
	dir, err := commitlog.OpenDir(verifyDir, commitlog.Options{FS: fsys, Policy: commitlog.OS, BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	set := partition.NewSet(dir, false, quiet)
	settings := topic.Defaults()
	settings.SegmentBytes = verifySegment
	plain, once := topic.NewID(), topic.NewID()
	for i, name := range []string{"plain", "plain", "once"} {
		id, index := plain, int32(i%2)
		if name == "once" {
			id = once
		}
		if _, err := set.Open(name, index, id, settings); err != nil {
			t.Fatal(err)
		}
		set.Lead(name, index, 1)
		fill(t, set, name, index)
	}
	if _, err := partition.NewProducerIDs(fsys, verifyDir, quiet).Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	set.SaveProducers()
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	served(t, fsys) // takes the topics into the list
	all := imageOf(t, fsys, verifyDir)
	if !clean {
		delete(all, filepath.Join(verifyDir, ".kafka_cleanshutdown"))
	}
	return all
}

func fill(t testing.TB, set *partition.Set, name string, index int32) {
	t.Helper()
	p, err := set.Get(name, index)
	for i := range verifyBatches {
		if err == nil {
			var bu record.Builder
			bu.Add(int64(1000+i), []byte("k"), bytes.Repeat([]byte{byte('a' + i%26)}, 430), nil)
			b := bu.Batch()
			if name == "once" {
				b = from(b, 7, int32(i))
			}
			_, _, err = p.Append(b)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// from makes b a batch of an idempotent producer.
func from(b record.Batch, producer int64, sequence int32) record.Batch {
	binary.BigEndian.PutUint64(b[43:], uint64(producer))
	binary.BigEndian.PutUint16(b[51:], 0)
	binary.BigEndian.PutUint32(b[53:], uint32(sequence))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// verify looks through fsys and returns what was found, as "partition/file kind".
func verify(t testing.TB, fsys disk.FS, repair bool) (found []string, sum VerifySummary) {
	t.Helper()
	sum, err := Verify(t.Context(), VerifyOptions{
		DataDir: verifyDir, FS: fsys, BrokerID: 1, Repair: repair,
		Found: func(f Finding) {
			found = append(found, strings.TrimLeft(f.Partition+"/"+f.File+" "+f.Kind, "/"))
			if f.Kind == "other" {
				t.Errorf("no words for %q", f.Wrong)
			}
		},
		Note: func(string, string) {}, Progress: func(int64, int64) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Findings+sum.Left != len(found) {
		t.Errorf("%d findings, and %d were told", sum.Findings+sum.Left, len(found))
	}
	slices.Sort(found) // partitions are opened side by side
	return found, sum
}

// served starts a broker's data on fsys and returns what readers get of it, by
// partition: the batches, but for the leader epochs, and where they begin and end.
func served(t testing.TB, fsys disk.FS) map[string]string {
	t.Helper()
	o := VerifyOptions{DataDir: verifyDir, BrokerID: 1}
	dir, set, err := o.open(fsys, quiet)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range set.All() {
		start, end := p.Offsets()
		text := fmt.Sprintf("%d to %d:", start, end)
		for at := start; at < end; {
			f, err := p.Read(at, 1<<20, true)
			if err != nil {
				t.Fatalf("%s at %d: %v", p.Name(), at, err)
			}
			if len(f.Records.Bytes) == 0 {
				break
			}
			for rest := f.Records.Bytes; len(rest) > 0; {
				b, after, err := record.Next(rest)
				if err != nil {
					t.Fatalf("%s at %d: %v", p.Name(), at, err)
				}
				text += fmt.Sprintf(" %d-%d#%08x", b.BaseOffset(), b.LastOffset(), crc32.ChecksumIEEE(b[16:]))
				at, rest = b.NextOffset(), after
			}
		}
		got[p.Name()] = text
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	return got
}

// checkRepair holds that a look changes nothing, that nothing is found after a
// repair, and that a start serves the same with it as without. It returns what was
// found.
func checkRepair(t *testing.T, damaged image) []string {
	t.Helper()
	fsys := damaged.disk(t)
	found, _ := verify(t, fsys, false)
	if now := imageOf(t, fsys, verifyDir); !maps.EqualFunc(now, damaged, bytes.Equal) || fsys.Ops() != damaged.disk(t).Ops() {
		t.Errorf("a look has changed the directory")
	}
	without := served(t, damaged.disk(t))
	// Whose a partition is cannot be said if all three files that know it are damaged.
	lost := slices.DeleteFunc(slices.Clone(found), func(f string) bool { return !strings.HasSuffix(f, kindUnidentified) })
	again, sum := verify(t, fsys, true)
	if sum.Left != len(lost) || sum.Repaired != (len(found) > 0) || !slices.Equal(again, slices.Sorted(slices.Values(slices.Concat(found, lost)))) {
		t.Errorf("a look found %q, a repair %q; %d are left", found, again, sum.Left)
	}
	if left, _ := verify(t, fsys, false); !slices.Equal(left, lost) {
		t.Errorf("after a repair: %q", left)
	}
	if with := served(t, fsys); !maps.Equal(with, without) {
		for name := range without {
			if with[name] != without[name] {
				t.Errorf("%s is served as %s\nand after a repair as %s", name, without[name], with[name])
			}
		}
	}
	return found
}

// What was written is found to be whole, however the last stop was.
func TestVerifyWhole(t *testing.T) {
	for _, clean := range []bool{true, false} {
		if found := checkRepair(t, dataImage(t, clean)); len(found) > 0 {
			t.Errorf("clean stop %v: found %q", clean, found)
		}
	}
}

// Each kind of damage is found, with what it costs, and repaired as a start and
// its readers do.
func TestVerifyDamage(t *testing.T) {
	whole := dataImage(t, true)
	path := func(name string) string { return filepath.Join(verifyDir, name) }
	change := func(name string, do func([]byte) []byte) func(image) {
		return func(i image) {
			if _, ok := i[path(name)]; !ok {
				panic(name)
			}
			i[path(name)] = do(i[path(name)])
		}
	}
	flip := func(name string, at int) func(image) {
		return change(name, func(b []byte) []byte { b[at] ^= 4; return b })
	}
	cut := func(name string, n int) func(image) {
		return change(name, func(b []byte) []byte { return b[:len(b)-n] })
	}
	remove := func(name string) func(image) { return func(i image) { delete(i, path(name)) } }
	add := func(name string) func(image) { return func(i image) { i[path(name)] = []byte("x") } }
	const first, second, last = "plain-0/00000000000000000000", "plain-0/00000000000000000011", "plain-0/00000000000000000022"
	for name, tc := range map[string]struct {
		do   []func(image)
		want []string
	}{
		"record":         {[]func(image){flip(second+".log", 100)}, []string{second + ".log damage", "plain-0/ gap"}},
		"activeRecord":   {[]func(image){flip(last+".log", 100)}, []string{last + ".log damage", "plain-0/ gap"}},
		"torn":           {[]func(image){cut(last+".log", 1), remove(".kafka_cleanshutdown")}, []string{last + ".log torn tail", last + ".log index", "plain-0/ gap"}},
		"sealedCut":      {[]func(image){cut(second+".log", 1)}, []string{second + ".log damage", "plain-0/ gap"}},
		"sealedMissing":  {[]func(image){remove(second + ".log")}, []string{"plain-0/ gap", second + ".index left over", second + ".timeindex left over"}},
		"lengthened":     {[]func(image){change(first+".log", func(b []byte) []byte { return append(b, 1, 2, 3) })}, []string{first + ".log damage"}},
		"noIndex":        {[]func(image){remove(first + ".index")}, []string{first + ".log index"}},
		"noTimeIndex":    {[]func(image){remove(first + ".timeindex")}, []string{first + ".log index"}},
		"indexPosition":  {[]func(image){flip(first+".index", 7)}, []string{first + ".log index"}},
		"indexOffset":    {[]func(image){flip(first+".index", 3)}, []string{first + ".log index"}},
		"indexShort":     {[]func(image){cut(first+".index", 8)}, []string{first + ".log index"}},
		"indexOdd":       {[]func(image){cut(first+".timeindex", 1)}, []string{first + ".log index"}},
		"timeIndexTime":  {[]func(image){flip(first+".timeindex", 7)}, []string{first + ".log index"}},
		"activeIndex":    {[]func(image){flip(last+".timeindex", 7)}, []string{last + ".log index"}},
		"activeNoIndex":  {[]func(image){remove(last + ".index"), remove(last + ".timeindex")}, nil},
		"epochs":         {[]func(image){flip("plain-0/leader-epoch-checkpoint", 0)}, []string{"plain-0/leader-epoch-checkpoint epochs"}},
		"epochsAndFirst": {[]func(image){flip(first+".log", 100), flip("plain-0/leader-epoch-checkpoint", 0)}, []string{"plain-0/leader-epoch-checkpoint epochs", first + ".log damage", "plain-0/ gap"}},
		"metadata":       {[]func(image){flip("plain-1/partition.metadata", 20)}, []string{"plain-1/partition.metadata identity"}},
		"noMetadata":     {[]func(image){remove("plain-1/partition.metadata")}, []string{"plain-1/partition.metadata file"}},
		"identity":       {[]func(image){flip("meta.properties", 30)}, []string{"meta.properties file"}},
		"identityCopy":   {[]func(image){remove("headwater.meta.properties")}, []string{"headwater.meta.properties file"}},
		"identities":     {[]func(image){flip("meta.properties", 0), flip("headwater.meta.properties", 0)}, []string{"meta.properties identity"}},
		"topicID":        {[]func(image){change("headwater.topics.json", func(b []byte) []byte { b[bytes.Index(b, []byte(`"id": "`))+10] ^= 1; return b })}, []string{"headwater.topics.json topics", "headwater.topics.json topics", "headwater.topics.json topics"}},
		"lastOffset":     {[]func(image){change(last+".log", func(b []byte) []byte { b[len(b)/8*7] ^= 128; return b })}, []string{last + ".log damage", "plain-0/ gap"}},
		"epochOfLast":    {[]func(image){change(last+".log", func(b []byte) []byte { b[lastBatch(b)+12] ^= 128; return b })}, nil}, // no checksum covers it
		"checkpoint":     {[]func(image){flip("headwater.checkpoint", 20)}, []string{"headwater.checkpoint checkpoint"}},
		"kafkas":         {[]func(image){change("log-start-offset-checkpoint", func([]byte) []byte { return []byte("1\n") })}, []string{"log-start-offset-checkpoint file"}},
		"topics":         {[]func(image){flip("headwater.topics.json", 0)}, []string{"headwater.topics.json topics", "headwater.topics.json topics", "headwater.topics.json topics"}},
		"producerIDs":    {[]func(image){flip("headwater.producer-ids.json", 0)}, []string{"headwater.producer-ids.json producer ids"}},
		"clock":          {[]func(image){flip("headwater.clock", 2)}, []string{"headwater.clock clock"}},
		"ages":           {[]func(image){flip("plain-0/headwater.ages", 2)}, []string{"plain-0/headwater.ages clock"}},
		"snapshot":       {[]func(image){flip("once-0/00000000000000000030.snapshot", 20)}, []string{"once-0/00000000000000000030.snapshot snapshot"}},
		"snapshotBehind": {[]func(image){add("once-0/00000000000000000031.snapshot")}, []string{"once-0/00000000000000000031.snapshot snapshot"}},
		"snapshotBefore": {[]func(image){add("once-0/00000000000000000003.snapshot")}, []string{"once-0/00000000000000000003.snapshot snapshot"}},
		"leftOver":       {[]func(image){add("plain-0/x.index.tmp"), add("plain-9.abc-delete/00000000000000000000.log")}, []string{"plain-0/x.index.tmp left over", "plain-9.abc-delete left over"}},
		"identified":     {[]func(image){flip("headwater.topics.json", 0), flip("plain-0/partition.metadata", 20), flip("plain-1/partition.metadata", 20)}, []string{"headwater.topics.json topics", "headwater.topics.json topics", "headwater.topics.json topics", "plain-0/partition.metadata identity", "plain-1/partition.metadata identity"}},
		"unidentified":   {[]func(image){flip("headwater.topics.json", 0), flip("headwater.checkpoint", 20), remove("plain-0/partition.metadata"), flip("plain-1/partition.metadata", 20)}, []string{"headwater.checkpoint checkpoint", "headwater.topics.json topics", "headwater.topics.json topics", "plain-0/partition.metadata unidentified", "plain-1/partition.metadata unidentified"}},
		"foreign":        {[]func(image){add("notes.txt"), add("plain-0/notes.txt"), add("quarantine/notes.txt")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := whole.clone()
			for _, do := range tc.do {
				do(damaged)
			}
			found := checkRepair(t, damaged)
			slices.Sort(found)
			slices.Sort(tc.want)
			slices.Sort(tc.want)
			if !slices.Equal(found, tc.want) {
				t.Errorf("found %q\nwant %q", found, tc.want)
			}
		})
	}
}

// lastBatch is where the last batch of a segment begins.
func lastBatch(segment []byte) (position int) {
	for next := 0; next < len(segment); next += 12 + int(binary.BigEndian.Uint32(segment[next+8:])) {
		position = next
	}
	return position
}

// Wherever bits flip, a repair and then a start serve what a start alone does, and
// nothing is found after a repair.
func TestVerifyFlips(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, clean := range []bool{true, false} {
		whole := dataImage(t, clean)
		names := slices.Sorted(maps.Keys(whole))
		for range 100 {
			damaged := whole.clone()
			var where []string
			for range 1 + rng.IntN(4) {
				if name := names[rng.IntN(len(names))]; len(damaged[name]) > 0 {
					at := rng.IntN(len(damaged[name]))
					damaged[name][at] ^= 1 << rng.IntN(8)
					where = append(where, fmt.Sprintf("%s:%d", name, at))
				}
			}
			checkRepair(t, damaged)
			if t.Failed() {
				t.Fatalf("clean %v, flipped %v", clean, where)
			}
		}
	}
}

// The words of verify are those of log lines that there are.
func TestSayings(t *testing.T) {
	var sources []byte
	for _, room := range []string{".", "commitlog", "partition", "cluster", "region", "replication"} {
		files, err := filepath.Glob(filepath.Join(room, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "verifywords.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, text...)
		}
	}
	for message := range sayings {
		if !bytes.Contains(sources, fmt.Appendf(nil, "%q", message)) {
			t.Errorf("nothing logs %q", message)
		}
	}
}

// What is no data directory, or another process has, is not looked at.
func TestVerifyRefuses(t *testing.T) {
	o := VerifyOptions{DataDir: t.TempDir(), BrokerID: 1}
	if _, err := Verify(t.Context(), o); !errors.Is(err, ErrNoData) {
		t.Errorf("an empty directory: %v", err)
	}
	dir, err := commitlog.OpenDir(o.DataDir, commitlog.Options{BrokerID: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, o.Repair = range []bool{false, true} {
		if _, err := Verify(t.Context(), o); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("a directory in use, repair %v: %v", o.Repair, err)
		}
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	o.Repair, o.DataDir = false, filepath.Join(o.DataDir, "none")
	if _, err := Verify(t.Context(), o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

// badDisk cannot read some bytes of one file, until another takes its name.
type badDisk struct {
	disk.FS
	path     string
	from, to int64
}

func (d *badDisk) Rename(from, to string) error {
	if to == d.path {
		d.path = ""
	}
	return d.FS.Rename(from, to)
}

func (d *badDisk) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil || name != d.path {
		return f, err
	}
	return unreadable{f, d.from, d.to}, nil
}

type unreadable struct {
	disk.File
	from, to int64
}

func (f unreadable) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(p)) > f.from {
		return 0, fmt.Errorf("read: %w", syscall.EIO)
	}
	return f.File.ReadAt(p, off)
}

// A block that cannot be read is found, costs the batches in it, and is no more
// there after a repair.
func TestVerifyUnreadableBlock(t *testing.T) {
	const segment = "plain-0/00000000000000000011"
	whole := dataImage(t, true)
	fsys := &badDisk{FS: whole.disk(t), path: filepath.Join(verifyDir, segment+".log"), from: 0, to: 4096}
	want := []string{"plain-0/ gap", segment + ".log damage"}
	if found, _ := verify(t, fsys, false); !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
	if _, sum := verify(t, fsys, true); sum.Left != 0 {
		t.Errorf("%d are left after a repair", sum.Left)
	}
	got, before := served(t, fsys), served(t, whole.disk(t))
	if kept := strings.Count(got["plain-0"], "#"); kept != verifyBatches-9 || got["plain-1"] != before["plain-1"] {
		t.Errorf("%d batches are left, want %d", kept, verifyBatches-9)
	}
}
