package cluster

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/headwater/headwater/broker/topic"
)

// Settings of a broker, and of no topic, that can be changed while it runs: how many
// bytes a second the throttled replicas move, which kafka-reassign-partitions sets for a
// while and takes away after it. The rate of moves between directories is kept for the
// tools: there is one directory.
const (
	LeaderRate   = "leader.replication.throttled.rate"
	FollowerRate = "follower.replication.throttled.rate"
	LogDirsRate  = "replica.alter.log.dirs.io.max.bytes.per.second"
)

// RateNames are the names of those settings.
func RateNames() []string { return []string{FollowerRate, LeaderRate, LogDirsRate} }

// IsRate reports whether a setting is one of them.
func IsRate(name string) bool { return slices.Contains(RateNames(), name) }

// Rates are those of RateNames that were changed, for all brokers and for this one.
type Rates struct {
	AllBrokers, ThisBroker map[string]string
}

// Changed is the rate that was set while brokers ran, if one was.
func (r Rates) Changed(name string) (bytesPerSecond int64, ok bool) {
	for _, set := range []map[string]string{r.ThisBroker, r.AllBrokers} {
		if n, err := parseRate(name, set[name]); err == nil {
			return n, true
		}
	}
	return 0, false
}

func parseRate(name, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %s is %.40q, must be a number of bytes", topic.ErrInvalidSetting, name, value)
	}
	return n, nil
}

// AlterRates does changes to the settings set. What is no rate stays.
func AlterRates(set map[string]string, changes []topic.Change, replace bool) error {
	if replace {
		for _, name := range RateNames() {
			delete(set, name)
		}
	}
	for _, c := range changes {
		switch c.Op {
		case topic.OpDelete:
			delete(set, c.Name)
		case topic.OpSet:
			if _, err := parseRate(c.Name, c.Value); err != nil {
				return err
			}
			set[c.Name] = c.Value
		default:
			return fmt.Errorf("%w: %s is no list", topic.ErrInvalidSetting, c.Name)
		}
	}
	return nil
}
