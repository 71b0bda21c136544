package broker

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
)

// saying is what a log line of a start or of a reader means to who looks through a
// data directory.
type saying struct{ kind, wrong, remedy, file string }

// Kinds that look treats in a way of their own.
const (
	kindSnapshot     = "snapshot"
	kindUnidentified = "unidentified"
)

// sayings are the log lines that tell of damage, by their messages. What else is
// logged as a warning or an error is told in its own words.
var sayings = map[string]saying{
	"damaged bytes taken out of a segment": {"damage", "bytes that are no batch", "moved to quarantine", ""},
	"offsets lost":                         {"gap", "offsets are lost", "readers go on behind them; counted once", ""},
	"torn tail cut":                        {"torn tail", "the last batch is not whole", "cut off", ""},
	"damaged segment not repaired; reading around the damage": {"damage", "a damaged segment that cannot be written anew", "read around", ""},
	"index files missing":                                                          {"index", "index files are missing", "built anew", ""},
	"index files wrong":                                                            {"index", "index files do not lead to the batches", "built anew", ""},
	"index not built":                                                              {"index", "index files cannot be built", "done without", ""},
	"checkpoint not used; more of the logs is read":                                {"checkpoint", "headwater.checkpoint is damaged", "last segments are read from their beginning; written anew", "headwater.checkpoint"},
	"checkpoint not used":                                                          {"checkpoint", "a checkpoint is damaged", "done without; written anew", ""},
	"meta.properties and its copy are damaged; written anew":                       {"identity", "it and its copy are damaged", "written anew with what can be read", "meta.properties"},
	"age clock not used; it goes on from the youngest segment":                     {"clock", "it is damaged", "goes on from the youngest segment; written anew", "headwater.clock"},
	"ages of segments not used; they count from now":                               {"clock", "it is damaged", "ages count from now; written anew", "headwater.ages"},
	"partition.metadata is damaged; written anew":                                  {"identity", "partition.metadata is damaged", "written anew", "partition.metadata"},
	"directory looks like a partition and has no readable id; left alone":          {kindUnidentified, "no readable partition.metadata, and no topic in the list", "left alone: it is not served", "partition.metadata"},
	"snapshot of producers is damaged":                                             {kindSnapshot, "a snapshot of producers is damaged", "removed; an earlier one and the log tell the same", ""},
	"producers forgotten: the log cannot be read":                                  {"snapshot", "the log behind the last snapshot of producers cannot be read", "producers are forgotten", ""},
	"list of topics is damaged; rebuilding it from the partitions on disk":         {"topics", "headwater.topics.json is damaged", "set aside; rebuilt from the partitions", "headwater.topics.json"},
	"topic found on disk only; taken over with default settings":                   {"topics", "a topic is on disk and not in the list", "taken over with default settings", "headwater.topics.json"},
	"what was known of the region is damaged; it comes again from ZooKeeper":       {"region", "headwater.region.json is damaged", "set aside; ZooKeeper and the controller tell it again", "headwater.region.json"},
	"topic has settings that do not apply":                                         {"topics", "a topic has settings that do not apply", "left out", "headwater.topics.json"},
	"headwater.reset is damaged; the log is left as it is":                         {"reset", "it is damaged", "removed: the log is left as it is", "headwater.reset"},
	"leader-epoch-checkpoint is damaged; written anew from the batches":            {"epochs", "it is damaged, or not of these batches", "written anew from the batches", "leader-epoch-checkpoint"},
	"partition not opened; it is offline":                                          {"offline", "the partition cannot be opened", "it is offline", ""},
	"partition not read":                                                           {"offline", "the partition cannot be read", "left as it is", ""},
	"the note of producer ids is damaged; they go on from a random one":            {"producer ids", "headwater.producer-ids.json is damaged", "ids go on from a random one", ""},
	"the producer ids that were left are damaged; others come from the controller": {"producer ids", producerIDsFile + " is damaged", "none of it is used; the controller gives others", producerIDsFile},
}

// silent are lines that another one of the same event makes superfluous.
var silent = map[string]bool{
	"time off not counted; records stay longer":                                          true, // said of the machine's clock
	"index of the active segment is not whole":                                           true, // said by the repair of the segment
	"partition on disk that the region has given no order for; not served until it does": true, // nothing is wrong with it
	"partition on disk is of an earlier topic of that name; not served":                  true,
	"index built anew": true, // said before, by what was wrong, or by the repair of its segment
}

// verifyHandler makes findings of what a start and its readers log.
type verifyHandler struct {
	mu    *sync.Mutex // held while found is called
	found func(Finding)
}

func (verifyHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

func (h verifyHandler) Handle(_ context.Context, r slog.Record) error {
	if silent[r.Message] {
		return nil
	}
	say, ok := sayings[r.Message]
	if !ok {
		say = saying{"other", r.Message, "", ""}
	}
	f := Finding{File: say.file, Kind: say.kind, Wrong: say.wrong, Remedy: say.remedy, Details: map[string]any{}}
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "log" || a.Key == "partition" || a.Key == "directory":
			f.Partition = a.Value.String()
		case a.Key == "file":
			f.File = filepath.Base(a.Value.String())
		case a.Key == "segment":
			f.File = fmt.Sprintf("%020d.log", a.Value.Int64())
		case a.Value.Any() == nil:
		case a.Value.Kind() == slog.KindAny: // errors
			f.Details[a.Key] = a.Value.String()
		default:
			f.Details[a.Key] = a.Value.Any()
		}
		return true
	})
	h.mu.Lock() // partitions are opened side by side
	defer h.mu.Unlock()
	h.found(f)
	return nil
}

// WithAttrs and WithGroup are not used by the rooms that log here.
func (h verifyHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h verifyHandler) WithGroup(string) slog.Handler      { return h }

// failureHandler passes on why something could not be done.
type failureHandler struct {
	mu   *sync.Mutex // held while note is called
	note func(partition, text string)
}

func (failureHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

func (h failureHandler) Handle(_ context.Context, r slog.Record) error {
	name, failed := "", ""
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "log" || a.Key == "partition":
			name = a.Value.String()
		case (a.Key == "err" || strings.HasSuffix(a.Key, "Err")) && a.Value.Any() != nil:
			failed = a.Value.String()
		}
		return true
	})
	if failed != "" {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.note(name, "while repairing: "+r.Message+": "+failed)
	}
	return nil
}

func (h failureHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h failureHandler) WithGroup(string) slog.Handler      { return h }

// removedFile says of a file that a start removes why it does.
func removedFile(dataDir, path string) (f Finding, tell bool) {
	name, err := filepath.Rel(dataDir, path)
	if err != nil || name == ".kafka_cleanshutdown" || name == topicsFile || name == regionFile {
		return f, false
	}
	f = Finding{Kind: "left over", Wrong: "left over from something that was interrupted", Remedy: "removed"}
	if f.Partition, f.File = filepath.Split(name); f.Partition != "" {
		f.Partition = filepath.Clean(f.Partition)
	}
	switch {
	case strings.HasSuffix(name, ".snapshot"):
		f.Kind, f.Wrong = kindSnapshot, "it is damaged, or tells of what is behind the log's end"
	case strings.HasSuffix(name, "-delete"):
		f.Wrong = "a partition whose deletion was interrupted"
	}
	return f, true
}
