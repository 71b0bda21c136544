package subject

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Partitioning says how a rule chooses among a topic's partitions: one of the
// words below, or the number of a partition.
type Partitioning string

// The ways to choose a partition, beside a number.
const (
	Home  Partitioning = "home" // the one partition that this box is the home of
	ByKey Partitioning = "key"  // the key's hash, as Kafka's Java client has it
)

// maxPartition is the highest number of a partition that a rule may name.
const maxPartition = 99_999

// fixed is the partition that p names, if it names one.
func (p Partitioning) fixed() (index int32, ok bool) {
	n, err := strconv.ParseUint(string(p), 10, 31)
	return int32(n), err == nil
}

// checked returns p, or its default.
func (p Partitioning) checked(key string) (Partitioning, error) {
	index, fixed := p.fixed()
	switch {
	case p == "" || p == Home:
		return Home, nil
	case p == ByKey && key == "":
		return p, errors.New(`partition: "key" needs a key`)
	case p == ByKey, fixed && index <= maxPartition:
		return p, nil
	}
	return p, fmt.Errorf(`partition: %.40q is neither "home" nor "key" nor a number from 0 to %d`, string(p), maxPartition)
}

// Compressions are what a rule's Compression can be.
func Compressions() []string { return []string{"none", "gzip", "snappy", "lz4", "zstd"} }

// The bounds and the default of a rule's Linger: less than the least is not worth a timer, and what
// lingers is lost when the power is.
const (
	MinLinger     = time.Millisecond
	MaxLinger     = time.Minute
	DefaultLinger = 20 * time.Millisecond // of a rule that says nothing
)

// Settings are what a rule says of its messages beside where they go. What is 0 or
// empty is the bridge's to choose.
type Settings struct {
	Linger          time.Duration
	Compression     string // one of Compressions
	MaxMessageBytes int64
}

// Settings are those of the rule with this number.
func (t *Table) Settings(rule int) Settings { return t.rules[rule].settings }

func (s Settings) check() []error {
	var errs []error
	if s.Linger != 0 && (s.Linger < MinLinger || s.Linger > MaxLinger) {
		errs = append(errs, fmt.Errorf("linger: %v is out of range; allowed is from %v to %v", s.Linger, MinLinger, MaxLinger))
	}
	if s.Compression != "" && !slices.Contains(Compressions(), s.Compression) {
		errs = append(errs, fmt.Errorf("compression: %.40q is not allowed; allowed is none, gzip, snappy, lz4 or zstd", s.Compression))
	}
	if s.MaxMessageBytes < 0 {
		errs = append(errs, fmt.Errorf("maxMessageBytes: %d is less than one byte", s.MaxMessageBytes))
	}
	return errs
}
