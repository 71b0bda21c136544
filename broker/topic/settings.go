package topic

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrInvalidSetting is wrapped by every complaint about a setting.
var ErrInvalidSetting = errors.New("invalid topic setting")

// Settings are a topic's, by the names that Kafka's users know.
type Settings struct {
	SegmentBytes    int64         // segment.bytes: roll the active segment before it passes this size
	SegmentAge      time.Duration // segment.ms: roll a segment that is older, though it is not full
	RetentionBytes  int64         // retention.bytes: per partition; -1 keeps everything
	Retention       time.Duration // retention.ms: since the append; -1 keeps everything
	MaxMessageBytes int64         // max.message.bytes: the largest record batch that is taken
	Full            FullPolicy    // headwater.full: what becomes of old segments when the box has no room

	Cleanup          CleanupPolicy // cleanup.policy: what becomes of old records
	MinDirtyRatio    float64       // min.cleanable.dirty.ratio: compact once more than this share of the log is not compacted
	DeleteRetention  time.Duration // delete.retention.ms: tombstones stay this long after they were first compacted
	MinCompactionLag time.Duration // min.compaction.lag.ms: records stay as they are this long after the append
	MaxCompactionLag time.Duration // max.compaction.lag.ms: compact after this long, whatever the ratio; Forever: never for that

	MinISR            int               // min.insync.replicas: with fewer in the ISR, nothing is committed and acks=all is refused
	UncleanElection   bool              // unclean.leader.election.enable: rather lose records than have no leader
	LeaderThrottled   ThrottledReplicas // leader.replication.throttled.replicas: to whom the rate of leaders applies
	FollowerThrottled ThrottledReplicas // follower.replication.throttled.replicas: and that of followers
}

// FullPolicy says what a topic gives when the box has no room for a new record, of
// whatever topic.
type FullPolicy int8

// The policies.
const (
	DropOldest FullPolicy = iota // its oldest segments may go
	Reject                       // nothing of it goes: records are refused instead
)

var fullPolicies = []string{DropOldest: "drop-oldest", Reject: "reject"}

// String returns the word that users write.
func (p FullPolicy) String() string { return fullPolicies[p] }

// ParseFullPolicy reads what String wrote.
func ParseFullPolicy(s string) (FullPolicy, error) {
	if i := slices.Index(fullPolicies, s); i >= 0 {
		return FullPolicy(i), nil
	}
	return 0, fmt.Errorf("%w: %.60q is none of %s", ErrInvalidSetting, s, strings.Join(fullPolicies, ", "))
}

// CleanupPolicy says what becomes of old records.
type CleanupPolicy int8

// The policies.
const (
	Delete           CleanupPolicy = iota // old segments go, by size and age
	Compact                               // all but the last record of each key go
	CompactAndDelete                      // both
)

var cleanupPolicies = []string{Delete: "delete", Compact: "compact", CompactAndDelete: "compact,delete"}

// String returns the words that users write.
func (p CleanupPolicy) String() string { return cleanupPolicies[p] }

// Deletes reports whether old segments go.
func (p CleanupPolicy) Deletes() bool { return p != Compact }

// Compacts reports whether only the last record of each key is kept.
func (p CleanupPolicy) Compacts() bool { return p != Delete }

// ParseCleanupPolicy reads a list of delete and compact, in any order, as Kafka
// does.
func ParseCleanupPolicy(s string) (CleanupPolicy, error) {
	if i := slices.Index(cleanupPolicies, orderedList(s)); i >= 0 {
		return CleanupPolicy(i), nil
	}
	return 0, fmt.Errorf("%w: %.60q is none of %s", ErrInvalidSetting, s, strings.Join(cleanupPolicies, "; "))
}

// orderedList brings a list of words into one form: sorted, each word once.
func orderedList(s string) string {
	words := strings.Split(s, ",")
	for i, w := range words {
		words[i] = strings.TrimSpace(w)
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ",")
}

// Forever is Retention's value for keeping records whatever their age.
const Forever time.Duration = -1

// Defaults suit a gateway with a 16 GB card.
func Defaults() Settings {
	return Settings{
		SegmentBytes:    16 << 20,
		SegmentAge:      7 * 24 * time.Hour,
		RetentionBytes:  256 << 20,
		Retention:       7 * 24 * time.Hour,
		MaxMessageBytes: 1<<20 + 12, // Kafka's: 1 MiB and the part of a batch that its length does not count

		MinDirtyRatio:    0.5,
		DeleteRetention:  24 * time.Hour,
		MaxCompactionLag: Forever,

		MinISR: 1,
	}
}

// kind is what a setting's value is, as DescribeConfigs tells it.
type kind int8

// The kinds of values; their numbers are DescribeConfigs' config types.
const (
	kindBoolean kind = 1
	kindString  kind = 2
	kindInt     kind = 3
	kindLong    kind = 5
	kindDouble  kind = 6
	kindList    kind = 7
)

// setting ties a name to a field of Settings, within a range both ends of which
// are allowed. With words, what is written is one of them and the field holds its
// place among them. A double is handed over as its bits.
type setting struct {
	name      string
	kind      kind
	min, max  int64
	get       func(*Settings) int64
	set       func(*Settings, int64)
	doc       string
	brokerKey string // the broker setting that it falls back to, Kafka's name
	words     []string
}

// parse reads a value as users write it.
func (k setting) parse(value string) (v int64, ok bool) {
	switch {
	case k.kind == kindList:
		value = orderedList(value)
		fallthrough
	case k.words != nil:
		i := slices.Index(k.words, value)
		return int64(i), i >= 0
	case k.kind == kindDouble:
		f, err := strconv.ParseFloat(value, 64)
		return int64(math.Float64bits(f)), err == nil && f >= float64(k.min) && f <= float64(k.max)
	}
	v, err := strconv.ParseInt(value, 10, 64)
	return v, err == nil && v >= k.min && v <= k.max
}

// format writes what parse reads.
func (k setting) format(v int64) string {
	if k.words != nil {
		return k.words[v]
	}
	if k.kind == kindDouble {
		return strconv.FormatFloat(math.Float64frombits(uint64(v)), 'f', -1, 64)
	}
	return strconv.FormatInt(v, 10)
}

// allowed says what parse takes.
func (k setting) allowed() string {
	if k.words != nil {
		return "one of " + strings.Join(k.words, ", ")
	}
	if k.kind == kindDouble {
		return fmt.Sprintf("a number from %d to %d", k.min, k.max)
	}
	return fmt.Sprintf("a whole number from %d to %d", k.min, k.max)
}

var settings = []setting{
	{
		"cleanup.policy", kindList, 0, 0,
		func(s *Settings) int64 { return int64(s.Cleanup) }, func(s *Settings, v int64) { s.Cleanup = CleanupPolicy(v) },
		"What becomes of old records: delete lets old segments go, compact keeps the last record of each key.", "log.cleanup.policy", cleanupPolicies,
	},
	{
		"delete.retention.ms", kindLong, 0, maxMillis,
		func(s *Settings) int64 { return millis(s.DeleteRetention) }, func(s *Settings, v int64) { s.DeleteRetention = duration(v) },
		"Compaction keeps a record without a value this many milliseconds more.", "log.cleaner.delete.retention.ms", nil,
	},
	{ // our own, and so not by a name that could be Kafka's
		"headwater.full", kindString, 0, 0,
		func(s *Settings) int64 { return int64(s.Full) }, func(s *Settings, v int64) { s.Full = FullPolicy(v) },
		"When the box has no room: drop-oldest lets this topic's oldest segments go, reject keeps them and refuses records.", "", fullPolicies,
	},
	{
		"max.message.bytes", kindInt, 1 << 10, 64 << 20,
		func(s *Settings) int64 { return s.MaxMessageBytes }, func(s *Settings, v int64) { s.MaxMessageBytes = v },
		"The largest record batch that is taken, in bytes.", "message.max.bytes", nil,
	},
	{
		"max.compaction.lag.ms", kindLong, 1, math.MaxInt64,
		func(s *Settings) int64 { return orForever(s.MaxCompactionLag) }, func(s *Settings, v int64) { s.MaxCompactionLag = orNever(v) },
		"Records are compacted when they were appended this many milliseconds ago, whatever the ratio.", "log.cleaner.max.compaction.lag.ms", nil,
	},
	{
		"min.cleanable.dirty.ratio", kindDouble, 0, 1,
		func(s *Settings) int64 { return int64(math.Float64bits(s.MinDirtyRatio)) },
		func(s *Settings, v int64) { s.MinDirtyRatio = math.Float64frombits(uint64(v)) },
		"The log is compacted when more than this share of it has not been.", "log.cleaner.min.cleanable.ratio", nil,
	},
	{
		"min.compaction.lag.ms", kindLong, 0, maxMillis,
		func(s *Settings) int64 { return millis(s.MinCompactionLag) }, func(s *Settings, v int64) { s.MinCompactionLag = duration(v) },
		"Records are not compacted before they were appended this many milliseconds ago.", "log.cleaner.min.compaction.lag.ms", nil,
	},
	{
		"min.insync.replicas", kindInt, 1, math.MaxInt32,
		func(s *Settings) int64 { return int64(s.MinISR) }, func(s *Settings, v int64) { s.MinISR = int(v) },
		"With fewer replicas in the ISR nothing is committed, and records that are to be acknowledged by all are refused. All, where there are no more.", "min.insync.replicas", nil,
	},
	{
		"retention.bytes", kindLong, -1, 1 << 60,
		func(s *Settings) int64 { return s.RetentionBytes }, func(s *Settings, v int64) { s.RetentionBytes = v },
		"Old segments go while the partition is larger than this many bytes; -1 keeps them.", "log.retention.bytes", nil,
	},
	{
		"retention.ms", kindLong, -1, maxMillis,
		func(s *Settings) int64 { return millis(s.Retention) }, func(s *Settings, v int64) { s.Retention = duration(v) },
		"Segments that were last appended to more than this many milliseconds ago go; -1 keeps them.", "log.retention.ms", nil,
	},
	{
		"segment.bytes", kindInt, 1 << 20, 1 << 30,
		func(s *Settings) int64 { return s.SegmentBytes }, func(s *Settings, v int64) { s.SegmentBytes = v },
		"A segment is closed before it passes this many bytes.", "log.segment.bytes", nil,
	},
	{
		"segment.ms", kindLong, 1000, maxMillis,
		func(s *Settings) int64 { return millis(s.SegmentAge) }, func(s *Settings, v int64) { s.SegmentAge = duration(v) },
		"A segment is closed when it is older than this many milliseconds.", "log.roll.ms", nil,
	},
	{
		"unclean.leader.election.enable", kindBoolean, 0, 0,
		func(s *Settings) int64 { return int64(slices.Index(booleans, strconv.FormatBool(s.UncleanElection))) },
		func(s *Settings, v int64) { s.UncleanElection = booleans[v] == "true" },
		"When nobody of the ISR is alive, whether another replica may lead, without the records that it has not.", "unclean.leader.election.enable", booleans,
	},
}

var booleans = []string{"false", "true"}

// throttled are the settings whose values are lists of replicas.
var throttled = []struct {
	name, doc string
	field     func(*Settings) *ThrottledReplicas
}{
	{
		"follower.replication.throttled.replicas", "The replicas that fetch from their leaders at the throttled rate: partition:broker, with commas between them, or * for all.",
		func(s *Settings) *ThrottledReplicas { return &s.FollowerThrottled },
	},
	{
		"leader.replication.throttled.replicas", "The replicas whose followers get what the throttled rate allows: partition:broker, with commas between them, or * for all.",
		func(s *Settings) *ThrottledReplicas { return &s.LeaderThrottled },
	},
}

const maxMillis = int64(1<<63-1) / int64(time.Millisecond)

func millis(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}

func duration(ms int64) time.Duration {
	if ms < 0 {
		return Forever
	}
	return time.Duration(ms) * time.Millisecond
}

// orForever is millis for a setting whose largest value stands for never.
func orForever(d time.Duration) int64 {
	if d < 0 {
		return math.MaxInt64
	}
	return d.Milliseconds()
}

// orNever reads what orForever wrote.
func orNever(ms int64) time.Duration {
	if ms > maxMillis {
		return Forever
	}
	return duration(ms)
}

// fixed are settings of Kafka's that have one value here. Naming that value is
// allowed, so that scripts written for Kafka work; another is refused.
var fixed = []struct {
	name, value string
	kind        kind
}{
	{"compression.type", "producer", kindString},
	{"message.timestamp.type", "CreateTime", kindString},
}

// Apply returns base with overrides, names to values, laid over it. The error
// lists everything that is wrong with them and wraps ErrInvalidSetting.
func Apply(base Settings, overrides map[string]string) (Settings, error) {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		if err := applyOne(&base, name, overrides[name]); err != nil {
			errs = append(errs, err)
		}
	}
	if low, high := base.MinCompactionLag, base.MaxCompactionLag; high >= 0 && low > high {
		errs = append(errs, fmt.Errorf("%w: min.compaction.lag.ms is %d, more than max.compaction.lag.ms, %d", ErrInvalidSetting, millis(low), millis(high)))
	}
	return base, errors.Join(errs...)
}

// maxValueLen bounds a value's text, which is kept as it was written.
const maxValueLen = 256

func applyOne(s *Settings, name, value string) error {
	for _, t := range throttled {
		if t.name == name {
			list, err := ParseThrottledReplicas(value)
			if err == nil {
				*t.field(s) = list
			}
			return err
		}
	}
	if len(value) > maxValueLen {
		return fmt.Errorf("%w: the value of %.60q has %d characters, at most %d are allowed", ErrInvalidSetting, name, len(value), maxValueLen)
	}
	for _, f := range fixed {
		switch {
		case f.name == name && value == f.value:
			return nil
		case f.name == name:
			return fmt.Errorf("%w: %s can only be %q here, not %.60q", ErrInvalidSetting, name, f.value, value)
		}
	}
	i := slices.IndexFunc(settings, func(k setting) bool { return k.name == name })
	if i < 0 {
		return fmt.Errorf("%w: %.60q is not a setting of a topic", ErrInvalidSetting, name)
	}
	k := settings[i]
	v, ok := k.parse(value)
	if !ok {
		return fmt.Errorf("%w: %s is %.60q, want %s", ErrInvalidSetting, name, value, k.allowed())
	}
	k.set(s, v)
	return nil
}

// Described is one setting as administration tools list it.
type Described struct {
	Name, Value, Doc string
	Type             int8   // DescribeConfigs' config type: 2 string, 3 int, 5 long, 7 list
	BrokerKey        string // the broker's setting of the same meaning, "" for none
}

// Describe lists every setting of s, in the order of their names.
func (s Settings) Describe() []Described {
	var out []Described
	for _, k := range settings {
		out = append(out, Described{k.name, k.format(k.get(&s)), k.doc, int8(k.kind), k.brokerKey})
	}
	for _, t := range throttled {
		out = append(out, Described{Name: t.name, Value: string(*t.field(&s)), Type: int8(kindList), Doc: t.doc})
	}
	for _, f := range fixed {
		out = append(out, Described{Name: f.name, Value: f.value, Type: int8(f.kind), Doc: "Has this one value here."})
	}
	slices.SortFunc(out, func(a, b Described) int { return strings.Compare(a.Name, b.Name) })
	return out
}
