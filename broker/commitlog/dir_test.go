package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headwater/headwater/broker/disk"
)

func TestDirIdentity(t *testing.T) {
	fsys := disk.NewCrash(0)
	d := must(OpenDir("deep/down/data", Options{FS: fsys, BrokerID: 7}))
	if d.Path() != "deep/down/data" || d.BrokerID() != 7 || len(d.ClusterID()) != 22 || d.FS().(*reserveFS).FS.(sheddingFS).FS != disk.FS(fsys) {
		t.Errorf("path %q, broker %d, cluster %q", d.Path(), d.BrokerID(), d.ClusterID())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	data := string(get(t, fsys, "deep/down/data/meta.properties"))
	form := regexp.MustCompile(`^version=0\nbroker\.id=7\ncluster\.id=[\w-]{22}\nheadwater\.incarnation=[\w-]{22}\nheadwater\.checksum=[0-9a-f]{8}\n$`)
	if !form.MatchString(data) {
		t.Errorf("meta.properties is %q", data)
	}
	again := must(OpenDir("deep/down/data", Options{FS: fsys, BrokerID: 7}))
	if again.ClusterID() != d.ClusterID() || again.identity != d.identity {
		t.Errorf("identity %+v, want %+v", again.identity, d.identity)
	}
	if _, err := OpenDir("deep/down/data", Options{FS: fsys, BrokerID: 8}); err == nil || !strings.Contains(err.Error(), "broker 7") {
		t.Errorf("opened as another broker: %v", err)
	}
}

// What Kafka wrote is taken over, and gets an incarnation.
func TestDirOfKafka(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		ok   bool
	}{
		"kafka":     {"#\n#Thu Apr 30 10:00:00 UTC 2026\ncluster.id=4L6g3nShT-eMCtK--X86sw\nversion=0\nbroker.id=1\n", true},
		"version":   {"cluster.id=4L6g3nShT-eMCtK--X86sw\nversion=1\nnode.id=1\n", false},
		"noCluster": {"version=0\nbroker.id=1\n", false},
		"noBroker":  {"version=0\ncluster.id=4L6g3nShT-eMCtK--X86sw\nbroker.id=one\n", false},
		"empty":     {"", false},
	} {
		fsys := disk.NewCrash(0)
		if err := fsys.MkdirAll("data", 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, fsys, "data/meta.properties", []byte(tc.file))
		d, err := OpenDir("data", Options{FS: fsys, BrokerID: 1})
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (d.ClusterID() != "4L6g3nShT-eMCtK--X86sw" || must(OpenDir("data", Options{FS: fsys, BrokerID: 1})).identity != d.identity) {
			t.Errorf("%s: identity %+v is not kept", name, d.identity)
		}
	}
}

func TestDirLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := must(OpenDir(path, Options{}))
	if _, err := OpenDir(path, Options{}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("opened twice: %v, want ErrLocked", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(path, Options{})
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestNames(t *testing.T) {
	fsys := disk.NewCrash(0)
	d := start(t, fsys, Options{})
	for _, name := range []string{"a.b-c_d-12", "t-0", "t-1"} {
		d.mustOpen(t, name, keepAll)
	}
	for _, dir := range []string{"data/t-2", "data/t-3", "data/lost+found", "data/t-5.abc-delete", "data/t-01x", "data/-5"} {
		if err := fsys.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, fsys, "data/t-3/00000000000000000000.log", nil) // of a Kafka that had no topic ids
	put(t, fsys, "data/t-4", nil)
	if got, want := must(d.Names()), []string{"a.b-c_d-12", "t-0", "t-1", "t-3"}; !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if id, err := d.TopicID("t-1"); id != topicA || err != nil {
		t.Errorf("topic id %q, %v", id, err)
	}
	if _, err := d.TopicID("t-3"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("topic id of a log without: %v", err)
	}
	if got := string(get(t, fsys, "data/t-0/partition.metadata")); !strings.HasPrefix(got, "version: 0\ntopic_id: "+topicA+"\nheadwater.checksum: ") {
		t.Errorf("partition.metadata is %q", got)
	}
}

func TestOpenLogRefuses(t *testing.T) {
	d := start(t, disk.NewCrash(0), Options{})
	d.mustOpen(t, "t-0", keepAll)
	for what, tc := range map[string]struct{ name, topicID string }{
		"open already": {"t-0", topicA},
		"no partition": {"t", topicA},
		"a path":       {"../t-0", topicA},
		"a long path":  {"a/b-0", topicA},
		"no topic":     {"-1", topicA},
		"a big number": {"t-99999999999", topicA},
		"no topic id":  {"t-1", ""},
		"two lines":    {"t-1", "AAAAAAAAQACAAAA\nAAAAAA"},
	} {
		if _, err := d.OpenLog(tc.name, tc.topicID, keepAll); err == nil {
			t.Errorf("%s: opened", what)
		}
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	d = start(t, d.FS(), Options{})
	if _, err := d.OpenLog("t-0", topicB, keepAll); err == nil || !strings.Contains(err.Error(), topicA) {
		t.Errorf("opened as another topic: %v", err)
	}
}

// Who waits for a deleted log is told; the name starts anew at offset 0, and what
// an interrupted deletion left goes at the next start.
func TestDeleteLog(t *testing.T) {
	fsys := disk.NewCrash(0)
	d := start(t, fsys, Options{Policy: Interval})
	l := d.mustOpen(t, "t-0", keepAll)
	l.mustAppend(t, newBatch(3, 0, 10, 'a'))
	if err := d.DeleteLog("t-0"); err != nil {
		t.Fatal(err)
	}
	if err := l.await(3); !errors.Is(err, ErrClosed) || errors.Is(err, ErrOffline) {
		t.Errorf("told %v, want ErrClosed", err)
	}
	if _, err := l.Append(newBatch(1, 0, 10, 'a'), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v, want ErrClosed", err)
	}
	if _, err := l.Read(0, 3, 100, true); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v, want ErrClosed", err)
	}
	if err := d.DeleteLog("t-0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted twice: %v, want ErrNotExist", err)
	}
	anew, err := d.open("t-0", topicB, keepAll)
	if err != nil || anew.EndOffset() != 0 {
		t.Fatalf("made anew: %v", err)
	}
	if _, err := d.files.acquire(l.view.Load().active(), logExt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reader of the old log has the new one's file: %v", err)
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}

	put(t, fsys, "data/meta.properties.tmp", nil)
	if err := fsys.MkdirAll("data/old-0.xyz-delete", 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, fsys, "data/old-0.xyz-delete/00000000000000000000.log", []byte("x"))
	d = start(t, fsys, Options{})
	if _, err := fsys.Stat("data/old-0.xyz-delete"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a deletion left is there: %v", err)
	}
	if got := must(d.Names()); !slices.Equal(got, []string{"t-0"}) {
		t.Errorf("names %q", got)
	}
}

// A name as long as Kafka allows can be deleted, too.
func TestGraveName(t *testing.T) {
	name := strings.Repeat("n", 249) + "-0"
	if got := graveName(name); len(got) > 255 || checkName(got) == nil || !strings.HasSuffix(got, deleted) {
		t.Errorf("%d characters: %s", len(got), got)
	}
}

// Logs can be opened at the same time, each of them once.
func TestOpenAtTheSameTime(t *testing.T) {
	d := start(t, disk.NewCrash(0), Options{})
	var openers sync.WaitGroup
	var opened atomic.Int64
	for i := range 80 {
		openers.Go(func() {
			if _, err := d.OpenLog(fmt.Sprintf("t-%d", i%10), topicA, keepAll); err == nil {
				opened.Add(1)
			}
		})
	}
	openers.Wait()
	if n := opened.Load(); n != 10 || len(d.openLogs()) != 10 {
		t.Errorf("%d logs opened, %d of them in the list, want 10", n, len(d.openLogs()))
	}
}
